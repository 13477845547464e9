"""The stream: supervision of pg_recvlogical, recovery before each start, rotation into segments."""
