"""Checks: facts of source and archive, probes that judge them, formats that report them."""
