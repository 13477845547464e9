"""Restores: the whole or a part, to any point, into a database or a throw-away cluster."""
