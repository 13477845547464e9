"""What pg_recvlogical writes: read, closed, and known to be confirmed."""
