"""pg_scribe: a PostgreSQL database kept as plain SQL."""

__version__ = "1.0.dev0"
FORMAT_VERSION = 1
