"""Michael Paquier's decoder_raw: what only it needs."""
