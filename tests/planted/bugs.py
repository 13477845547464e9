"""Small faults, each of which takes one guard out of the product, and the tests that ought to notice.

A bug that can no longer be planted fails test_planted_bugs.py, so that the list cannot rot in silence.
"""

from __future__ import annotations

from bug import Bug
from of_capture import CAPTURE
from of_libraries import LIBRARIES
from of_promises import ALARMS, PARTS, UNSEEN
from of_restores import CARE, COPIES, RESTORES
from of_storage import BASES, DISK, STREAM

__all__ = ["BUGS", "Bug"]

BUGS = (*DISK, *STREAM, *BASES, *RESTORES, *COPIES, *CARE, *CAPTURE, *LIBRARIES, *ALARMS, *PARTS, *UNSEEN)
