"""Python runs this first in a program whose PYTHONPATH has this directory: almost every file goes in parts.

A file that goes in one request is there or not; what goes in parts can be half sent, and a harness that sends files of
more than 8 MB each round would be slow.
"""

from scribe.offsite import encryption, stores

stores.PART, stores.BLOCK, encryption._BLOCK = 8 << 10, 4 << 10, 4 << 10
