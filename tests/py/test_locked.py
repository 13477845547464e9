"""Days against a bucket that locks every object: nothing is overwritten, nothing is refused.

Twelve days; with PG_SCRIBE_ALL_CASES=1 thirty.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aged import Aged
from botocore.exceptions import ClientError
from buckets import Bucket, Strict, faulty, served
from fleet import run_alone
from test_retention import daily, promised, shift

from scribe.archive.removal import prune
from scribe.archive.retention import Policy
from scribe.archive.verification import Verification
from scribe.offsite.mirror import Cache, Mirror, open_mirror
from scribe.offsite.retention import prune_store
from scribe.offsite.stores import PART, open_store
from scribe.offsite.sync import sync

pytestmark = pytest.mark.slow
DAYS = 30 if os.environ.get("PG_SCRIBE_ALL_CASES") == "1" else 12
LOCKED = 60  # days
URL = "s3://locked/shop"
POLICY = Policy(3, 5, 0)


def opened(made: Aged, secret: Path | None) -> Mirror:
    mirror = open_mirror(URL, Cache(made.path.parent / "cache", 1 << 30), secret)
    mirror.lock.__exit__()
    return mirror


def test_days_in_a_bucket_that_locks_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as port, faulty(port, Strict) as strict:
        bucket = Bucket(port, "locked")
        bucket.lock(LOCKED)
        env = bucket.env | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{strict.server_address[1]}"}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        live_through(Aged(tmp_path / "archive"), bucket)
        say_so(Aged(tmp_path / "told"), env)


def live_through(made: Aged, bucket: Bucket) -> None:
    """Send what each day brings and let retention go its way, here and there; then judge what happened."""
    secret, recipients = make_key(made.path.parent)
    told: list[datetime] = []
    for day in range(DAYS):
        if day % 3 == 0:
            made.add_base(day)
        for hour in (6, 12, 18):
            made.add_segment(day + hour / 24)
        (made.path / "meta.json").write_text(json.dumps({"day": day}))
        (look,) = sync(made.archive, [URL], recipients)
        assert (look.fault, look.missing) == (None, []), day
        if day % 3 == 2:
            before = promised(made, POLICY)
            prune(made.archive, POLICY, None, confirm=True, now=made.now())
            mirror = opened(made, secret)
            prune_store(mirror, POLICY, confirm=True, now=made.now(), locked=told.append)
            assert before and [str(fault) for fault in Verification(opened(made, secret)).run().faults] == []
    keys = bucket.written()
    assert len(keys) == len(set(keys)) > 6 * DAYS  # nothing was written twice, or has gone
    assert {until.date() for until in told} == {(datetime.now(UTC) + timedelta(days=LOCKED)).date()}
    hidden = set(keys) - {f"shop/{key}" for key in open_store(URL).objects()}
    assert len(hidden) > DAYS
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.lose(keys[0])
    (look,) = sync(made.archive, [URL], recipients, dry_run=True)
    assert look.missing == []
    large = open_store(URL)
    large.put("base/large", [bytes(PART), b"+"])  # each part with its checksum


def say_so(made: Aged, env: dict[str, str]) -> None:
    """Check what the program says of the lock."""
    daily(made, 6, every=2)
    shift(made)
    sync(made.archive, ["s3://locked/told"])
    keep = {"SCRIBE_KEEP_INCREMENTAL_DAYS": "1", "SCRIBE_KEEP_BASE_DAYS": "1", "SCRIBE_KEEP_MONTHLY": "0"}
    reads = env | keep | {"SCRIBE_CACHE": str(made.path.parent / "cache")}
    said = run_alone("scribe-prune", "--archive", "s3://locked/told", "--confirm", **reads)
    assert said.returncode == 0, said.stderr
    until = datetime.now(UTC) + timedelta(days=LOCKED)
    assert f"scribe-prune: warning: the store locks what goes until {until:%Y-%m-%d}" in said.stderr


def make_key(directory: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Return a secret key and the public one; nothing if age is not here."""
    if shutil.which("age") is None:
        return None, ()
    subprocess.run(["age-keygen", "-o", directory / "key"], check=True, capture_output=True)
    return directory / "key", (subprocess.check_output(["age-keygen", "-y", directory / "key"], text=True).strip(),)
