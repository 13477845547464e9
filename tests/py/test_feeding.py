"""SQL of an archive is sent to the server, and no command of psql's is run: an archive may be somebody else's."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import time
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
import zstandard
from cluster import Cluster
from handmade import Handmade
from restoring import DDL, TABLES, Target, insert

from scribe.archive import segments
from scribe.archive.cutting import Cutter, find_command
from scribe.archive.segments import Reader, open_plain
from scribe.common.errors import ScribeError
from scribe.restore.feeding import Feed
from scribe.restore.session import Session


def reader(text: bytes) -> Reader:
    return Reader(io.BytesIO(text), "the file")


def cut(text: bytes) -> list[bytes]:
    """Return the texts of all pieces; the data of a COPY after its statement."""
    found: list[bytes] = []
    for piece in Cutter(reader(text)).pieces():
        found += [piece.text, *(piece.copy or ())]
    return found


BODY = b"CREATE FUNCTION f() RETURNS int\n    BEGIN ATOMIC\n SELECT CASE WHEN true THEN 1 END;\n SELECT 2;\nEND;\n"
RULE = b"CREATE RULE r AS ON INSERT TO t DO ( DELETE FROM u;\n DELETE FROM v;\n);\n"
WHOLE = [
    BODY,
    RULE,
    b"SELECT 'a;\n\\! x', \"b;\n\\! y\", $q$;\n\\! z\n$q$;\n",
    b"SELECT E'a\\';\n', E'b'\n'c\\';\n';\n",
    b"SELECT /* ; /* ; */ ;\n\\! x */ 1;\n",
    b"SELECT 1; SELECT 2;\n",
    b"SELECT $1$ 1 -- ;\n;\n",
]


@pytest.mark.unit
@pytest.mark.parametrize("text", WHOLE)
def test_a_statement_ends_where_psql_ends_it(text: bytes) -> None:
    assert cut(b"SELECT 0;\n" + text + b"SELECT 3;\n") == [b"SELECT 0;\n", text, b"SELECT 3;\n"]


@pytest.mark.unit
def test_the_data_of_a_copy_is_data_whatever_stands_in_it() -> None:
    copy = b'COPY public."a;b" (x) FROM stdin;\n'
    text = b"-- a comment\n\\restrict abc\n" + copy + b"1\n\\! x\n';\n\\.\nSELECT 1;\n\\unrestrict abc\n"
    assert cut(text) == [copy, b"1\n\\! x\n';\n", b"SELECT 1;\n"]


# (text, whether psql runs what follows the backslash)
HOSTILE = [
    (b"\\! {}\n", True),
    (b"SELECT 1 \\! {}\n;\n", True),
    (b"SELECT 1; \\! {}\n", True),
    (b"/* /* */ ' */ \\! {}\n--'\n", True),
    (b"/* /* */ */ \\! {}\n", True),
    (b"SELECT E'a'\n'\\' || ' \\! {}\n;\n", False),
    (b"SELECT E'a'\n'\\' || ' || 1 \\! {}\n", False),
    # psql does not see that an E'...' goes on, and so that this quote is none
    (b"SELECT E'a'\n'\\' ;\n\\! {}\n--'\n", True),
    (b"SELECT E'a' -- x\n  '\\' ;\n\\! {}\n--'\n;\n", True),
    (b"SELECT E'a'\n'\\' || ' ';\nSELECT ' \\! {}\n';\n", False),
    (b"SELECT E'a'\n'\\'';\nSELECT ' \\! {}\n';\n", True),
    (b"SELECT 'a\\' \\! {}\n", True),
    (b"SELECT U&'a\\0041' \\! {}\n", True),
    (b"SELECT $a$ ' $a$ \\! {}\n", True),
    (b"SELECT $a$ \\! {}\n $a$;\n", False),
    (b"SELECT 1 -- \\! {}\n;\n", False),
    (b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; \\! {}\nEND;\n", True),
    (b"\\copy (SELECT 1) TO PROGRAM '{}'\n", True),
    (b"\\o |{}\nSELECT 1;\n\\o\n", True),
    (b"SELECT 1 \\g |{}\n", True),
    (b"\\set x `{}`\n", True),
]


@pytest.mark.parametrize(("text", "runs"), HOSTILE)
def test_what_psql_would_run_is_found(cluster: Cluster, tmp_path: Path, text: bytes, runs: bool) -> None:
    mark = tmp_path / "mark"
    text = text.replace(b"{}", f"touch {mark}".encode())
    command = [f"{cluster.bindir}/psql", "-X", "-q", "-d", "postgres", "-f", "-"]
    subprocess.run(command, input=text, env=cluster.env, capture_output=True, check=False)
    assert mark.exists() == runs
    found = find_command(reader(text))
    assert found is not None or not runs


@pytest.mark.unit
def test_the_time_for_a_statement_of_many_lines_does_not_grow_with_its_square() -> None:
    began = time.process_time()
    assert len(cut(b"SELECT\n" + b"1+\n" * 300_000 + b"1;\n")) == 1
    assert time.process_time() - began < 5  # 0.5 s


@pytest.mark.unit
def test_a_long_escape_string_takes_no_more_memory_than_its_text() -> None:
    for text in (b"SELECT E'" + b"x" * 1_000_000 + b"';\n", b"SELECT E'" + b"\\n''" * 250_000 + b"';\n"):
        tracemalloc.start()
        assert cut(text) == [text]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * len(text)


@pytest.mark.unit
def test_a_statement_or_line_that_no_server_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader needs less than three times the longest line in memory."""
    longest = 4 << 20
    monkeypatch.setattr(segments, "LONGEST", longest)
    monkeypatch.setattr("scribe.archive.cutting.LONGEST", longest)
    with pytest.raises(ScribeError, match="a statement of more than 4 MB"):
        cut(b"SELECT '" + (b"x" * 99 + b"\n") * (longest // 90) + b"';\n")
    text = b"SELECT '" + b"x" * 10 * longest + b"';\n"
    tracemalloc.start()
    with pytest.raises(ScribeError, match="has a line of more than 4 MB"):
        cut(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2 * longest


def hostile_base(archive: Handmade, text: str) -> None:
    archive.base(TABLES + text)
    archive.segment([insert(2)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\\! touch {}\n", '"\\\\! touch'),
        ("SELECT 1 \\! touch {}\n", '"\\\\! touch'),
        ("\\copy t FROM PROGRAM 'touch {}'\n", '"\\\\copy t FROM'),
        ("COPY public.log (note) FROM PROGRAM 'touch {}';\n", "a COPY that does not read what follows it"),
        ("SELECT 1; COPY public.log (note) TO '{}';\n", "a COPY that does not read what follows it"),
        ("/* x */ COPY (SELECT 1) TO PROGRAM 'touch {}';\n", "a COPY that does not read what follows it"),
    ],
)
def test_a_base_runs_no_command(target: Target, tmp_path: Path, text: str, said: str) -> None:
    mark = target.cluster.directory / f"{target.name}.mark"
    hostile_base(target.archive, text.replace("{}", str(mark)))
    assert said.replace("\\\\", "\\") in target.refused()
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["COPY public.t TO STDOUT", "SELECT 1; COPY public.t TO STDOUT", "/**/ COPY public.t FROM STDIN"]
)
@pytest.mark.parametrize("form", ["{};\n-- rows 1 inserted\n", DDL])
def test_a_segment_talks_to_nobody_and_keeps_nobody_waiting(target: Target, text: str, form: str) -> None:
    """A restore went round for ever at the first of the rows of a COPY that nobody takes."""
    target.archive.base(TABLES)
    target.archive.segment([form.format(text)])
    said = target.refused()
    assert "a COPY from or to whoever restores" in said or "the statement does not read data" in said
    assert target.rows() == [(1, "one")]


def test_what_the_server_sends_unasked_costs_no_memory(cluster: Cluster) -> None:
    """Neither rows nor warnings: who wrote the archive chooses how many."""
    more = 200 << 20
    child = os.fork()
    if child == 0:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))
        with cluster.connect("postgres") as conn:
            session = Session(conn)
            counts = session.run(b"SELECT repeat('x', 1 << 20) FROM generate_series(1, 400); SELECT 1")
            flood = b"DO $$ BEGIN FOR i IN 1..2000 LOOP RAISE WARNING '%', repeat('x', 1 << 17); END LOOP; END $$"
            sender = Feed(session, "the file", stop=True)
            conn.add_notice_handler(sender.note)
            session.run(flood)
        os._exit(0 if (counts, len(sender.messages)) == ([400, 1], 1001) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_globals_and_database_settings_run_no_command(target: Target, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    target.archive.base(TABLES, globals_sql=f"\\! touch {mark}\nCREATE ROLE nobody_else;\n")
    assert "is a command to psql and no SQL" in target.refused()
    assert not mark.exists()
    assert not target.cluster.query("SELECT 1 FROM pg_roles WHERE rolname = 'nobody_else'")


@pytest.mark.unit
def test_a_small_file_that_decompresses_to_a_large_one_costs_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.sql.zst"
    path.write_bytes(zstandard.compress(b"x" * (64 << 20)))
    with open_plain(path, 1000) as stream, pytest.raises(ScribeError, match="holds more than its manifest says"):
        deque(iter(lambda: stream.read(1 << 16), b""), maxlen=0)
    monkeypatch.setattr(segments, "LONGEST", 8 << 20)
    monkeypatch.setattr(segments, "MOST", 1 << 20)
    with open_plain(path, 64 << 20) as stream, pytest.raises(ScribeError, match="has a line of more than 8 MB"):
        Reader(stream, path.name).take_line()
    with pytest.raises(ScribeError, match="its header has more than 1 MB"):
        reader(b"SET a.b = 1;\n" * 100_000).read_header()
    wide = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=False)
    compressor = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    path.write_bytes(compressor.compress(b"x" * 100) + compressor.flush())
    with open_plain(path) as stream, pytest.raises(ScribeError, match="could not decompress"):
        Reader(stream, path.name).take_line()
