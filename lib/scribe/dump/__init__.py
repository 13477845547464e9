"""Bases: what a source must have, making an archive, full dumps at an exact point."""
