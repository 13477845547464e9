"""What the source database holds and is asked for: capture, slots, large objects, metadata."""
