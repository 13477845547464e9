"""Python runs this first in a program whose PYTHONPATH has this directory: it tells of what it does to the disk."""

import os
import sys
from pathlib import Path

if os.environ.get("TOLD_ARCHIVE"):
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    import telling

    sys.path.pop()
    telling.watch(Path(os.environ["TOLD_ARCHIVE"]), Path(os.environ["TOLD_TO"]))
