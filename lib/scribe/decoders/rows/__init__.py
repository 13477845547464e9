"""Rows and schema changes as SQL text, for the decoders that are translated at rotation."""
