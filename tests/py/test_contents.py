"""A rehearsal compares contents: one wrong value in one row is found, and the row is named."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from pathlib import Path

import pytest
from cluster import ROOT, Cluster
from source import Scribe

from scribe.dump.contents import Contents, describe_difference, from_json

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
CREATE TABLE keyed (gone int, id int, part text, v text, g text GENERATED ALWAYS AS (v || '!') STORED,
    PRIMARY KEY (id, part));
INSERT INTO keyed (id, part, v) SELECT n, chr(97 + n % 3), 'value ' || n FROM generate_series(1, 500) AS n;
ALTER TABLE keyed DROP COLUMN gone;
CREATE TABLE keyless (f float8, t timestamptz, a text[], b bytea);
INSERT INTO keyless SELECT n / 3.0, '2026-01-01'::timestamptz + n * interval '1 hour', ARRAY[NULL, n::text],
    decode(md5(n::text), 'hex') FROM generate_series(1, 100) AS n;
CREATE TABLE moods (m mood, n int) PARTITION BY HASH (m);
CREATE TABLE moods0 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE moods1 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO moods SELECT (ARRAY['sad', 'ok', 'glad'])[1 + n % 3]::mood, n FROM generate_series(1, 30) AS n;
CREATE TABLE none ();
INSERT INTO none DEFAULT VALUES;
"""
RUNS = (["keyed"], ["keyless"], ["moods0", "moods1"], ["none"])  # what four runs of a hundredth take along
MORE = """
INSERT INTO keyed (id, part, v) VALUES (1000, 'x', 'planted one');
UPDATE keyed SET v = 'planted two' WHERE id = 7;
INSERT INTO keyless VALUES (0.1, '2026-01-01', '{"planted three"}', NULL);
"""


def contents(rows: dict[str, str]) -> Contents:
    found = Contents(["id", "v"], 1)
    lines = [f"{key}\t{value}\n".encode() for key, value in rows.items()]
    random.Random(len(rows)).shuffle(lines)
    found.add(iter(lines))
    return found


@pytest.mark.unit
def test_order_does_not_matter_and_one_row_is_named() -> None:
    rows = {f"key {n}": f"value {n}" for n in range(1000)}
    before = contents(rows)
    kept = from_json(json.loads(json.dumps(before.as_json())), 1000)
    assert describe_difference(kept, contents(dict(reversed(rows.items())))) is None
    assert describe_difference(kept, contents(rows | {"key 5": "other"})) == "other contents: row (key 5) differs"
    more = describe_difference(kept, contents(rows | {"new": "x"}))
    assert more == "1001 rows, 1000 were recorded: row (new) was not recorded"
    fewer = describe_difference(kept, contents({key: rows[key] for key in rows if key != "key 9"}))
    assert fewer == "999 rows, 1000 were recorded: row (key 9) is missing"
    unclear = describe_difference(kept, contents(rows | {"key 1": "x", "key 3": "y", "key 4": "z", "key 6": "a"}))
    assert unclear is not None and " is missing" not in unclear.replace("differs or is missing", "")
    swapped = describe_difference(kept, contents(rows | {"key 1": rows["key 2"], "key 2": rows["key 1"]}))
    assert swapped is not None and swapped.startswith("other contents")
    all_other = describe_difference(kept, contents(dict.fromkeys(rows, "x")))
    assert all_other is not None and all_other.startswith("other contents")


@pytest.mark.unit
def test_duplicate_rows_count_and_partitions_add_up() -> None:
    one, two, both = Contents(["v"], 0), Contents(["v"], 0), Contents(["v"], 0)
    one.add(iter([b"a\n", b"a\n"]))
    two.add(iter([b"b\n"]))
    both.add(iter([b"a\n", b"b\n", b"a\n"]))
    assert describe_difference(both, one) is not None
    one.merge(two)
    assert describe_difference(both, one) is None


def rehearse(scribe: Scribe, status: int) -> list[str]:
    """Rehearse as root or another user would; return the lines of differences."""
    env = {name: value for name, value in scribe.env.items() if not name.startswith("PG")}
    command = [ROOT / "bin/scribe-verify", "--rehearse"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == status, run.stdout + run.stderr
    return run.stdout.splitlines()


def forge(scribe: Scribe, old: str, new: str) -> None:
    """Change a value in a segment, and its checksums with it."""
    for path in scribe.archive.glob("incremental/*.sql"):
        text = path.read_bytes()
        if old.encode() in text:
            text = text.replace(old.encode(), new.encode())
            path.write_bytes(text)
            manifest = json.loads(path.with_suffix(".json").read_text())
            digest = hashlib.sha256(text).hexdigest()
            manifest |= {"sha256": digest, "plain_sha256": digest, "bytes": len(text), "plain_bytes": len(text)}
            path.with_suffix(".json").write_text(json.dumps(manifest))
            later = sorted(
                p for p in scribe.archive.glob("incremental/*.json") if p.name > path.with_suffix(".json").name
            )
            if later:
                value = json.loads(later[0].read_text())
                later[0].write_text(json.dumps(value | {"previous_sha256": digest}))
            return
    raise AssertionError(f"{old} is in no segment")


def records(scribe: Scribe) -> list[dict[str, object]]:
    paths: list[Path] = sorted(scribe.archive.glob("incremental/*.json"))
    found = [json.loads(path.read_text()).get("recorded") for path in paths]
    return [value for value in found if value]


def test_a_planted_value_is_found_in_any_row(scribe: Scribe, cluster: Cluster) -> None:
    scribe.settings["SCRIBE_COMPRESS"] = "none"
    cluster.psql(TABLES, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql(MORE, scribe.dbname)
    scribe.run("scribe-rotate", "--record")
    (recorded,) = records(scribe)
    assert set(recorded["contents"]) == {  # type: ignore[call-overload]
        f"public.{name}" for name in ("keyed", "keyless", "moods0", "moods1", "none")
    }
    assert rehearse(scribe, 0) == []
    where = f"at {recorded['lsn']} ({recorded['time']})"
    for old, new in (("planted one", "planted 1"), ("planted two", "planted 2"), ("planted three", "planted 3")):
        forge(scribe, old, new)
    assert rehearse(scribe, 1) == [
        f"table public.keyed: other contents: row (1000, x) differs, row (7, b) differs {where}",
        f"table public.keyless: other contents {where}",
    ]


def test_a_record_can_be_spread_over_runs(scribe: Scribe, cluster: Cluster) -> None:
    scribe.settings["SCRIBE_COMPRESS"] = "none"
    cluster.psql(TABLES, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql(MORE, scribe.dbname)
    for _ in range(4):
        scribe.run("scribe-rotate", "--record", "1%")
    found = [sorted(value["contents"]) for value in records(scribe)]  # type: ignore[call-overload]
    # A hundredth of this database is one table, or all partitions of one: a row may lie in another of them in a copy.
    assert sorted(found) == [[f"public.{name}" for name in names] for names in RUNS]
    assert not any(value["complete"] for value in records(scribe))
    forge(scribe, "planted one", "planted 1")
    (line,) = rehearse(scribe, 1)
    assert line.startswith("table public.keyed: other contents: row (1000, x) differs at ")
    assert scribe.run("scribe-rotate", "--record", "0%", check=False).returncode == 2
