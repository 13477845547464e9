"""pgoutput's stream is cut after its last whole transaction wherever it was torn, and its rows become our SQL."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from archives import make_archive

from scribe.common.errors import ScribeError
from scribe.decoders.pgmessages import BinaryScan, end_after, find_start, frames_after
from scribe.decoders.pgoutput import PgOutput
from scribe.decoders.pgstream import MessageTranslator
from scribe.decoders.rows import statements
from scribe.decoders.rows.plaintext import is_plain, with_escape_strings, without_concurrently
from scribe.decoders.rows.statements import NotSureError, choose, last_name, statement_number
from scribe.decoders.rows.text import Knowledge
from scribe.spool import concatenation as tape_module
from scribe.spool.concatenation import Tape
from scribe.spool.contents import Spool

pytestmark = pytest.mark.unit

KEYED = {"a": [], "l": {}, "k": [["id", " = ", False, ""]], "u": False, "q": [], "s": False}
FULL = {"a": [], "l": {}, "k": [], "u": False, "q": [], "s": False}


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def row(*values: object) -> bytes:
    """A tuple: None is NULL, an ellipsis an unchanged TOAST value."""
    parts = [struct.pack(">H", len(values))]
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        kind = b"n" if value is None else b"u" if value is ... else b"t" + struct.pack(">I", len(data)) + data
        parts.append(kind)
    return b"".join(parts)


def relation(relid: int, name: str, identity: str, *columns: tuple[str, int, bool]) -> bytes:
    body = b"R" + struct.pack(">I", relid) + text("public") + text(name) + identity.encode()
    body += struct.pack(">H", len(columns))
    return body + b"".join(bytes([key]) + text(name) + struct.pack(">Ii", oid, -1) for name, oid, key in columns)


def change(kind: str, relid: int, *parts: bytes) -> bytes:
    return kind.encode() + struct.pack(">I", relid) + b"".join(parts)


def message(prefix: str, content: bytes, transactional: bool = True) -> bytes:
    head = b"M" + bytes([transactional]) + struct.pack(">Q", 0x42)
    return head + text(prefix) + struct.pack(">I", len(content)) + content


def transaction(lsn: int, *messages: bytes) -> bytes:
    begin = b"B" + struct.pack(">QqI", lsn, 0, 7)
    commit = b"C\0" + struct.pack(">QQq", lsn, lsn + 8, 0)
    return b"".join(each + b"\n" for each in (begin, *messages, commit))


T = relation(16385, "t", "d", ("id", 23, True), ("v", 25, False))
# What looks like the end of another transaction, in the one place where zero bytes may stand.
FORGED = b"\nC\0" + struct.pack(">QQq", 0x200, 0x208, 0) + b"\nB" + struct.pack(">QqI", 0x900, 0, 1) + b"\n"
TRANSACTIONS = [
    transaction(0x100, T, change("I", 16385, b"N", row(1, "a\nb"))),
    message("other", b"\0\n\0", transactional=False)
    + b"\n"
    + transaction(0x200, change("U", 16385, b"N", row(1, ...)), message("other", FORGED)),
    transaction(0x300, change("D", 16385, b"K", row(1, None)), b"O" + struct.pack(">Q", 1) + text("origin\nB")),
    transaction(
        0x400, b"T" + struct.pack(">IBI", 1, 0, 16385), b"Y" + struct.pack(">I", 17000) + text("s") + text("\nC")
    ),
]
SAMPLE = b"".join(TRANSACTIONS)
ENDS = [sum(map(len, TRANSACTIONS[: i + 1])) for i in range(len(TRANSACTIONS))]


def fill(path: Path, content: bytes) -> Spool:
    spool = Spool(make_archive(path).spool)
    spool.stream.write_bytes(content)
    return spool


def translate(spool: Spool, facts: dict[int, dict[str, object]]) -> str:
    with Tape(spool.paths()) as tape:
        scan = BinaryScan(tape, 0).run()
        assert scan.damage is None
        made = MessageTranslator(tape, 0, Knowledge(facts=facts)).blocks(0, scan.end)
        return b"".join(made).decode()


def body(spool: Spool, facts: dict[int, dict[str, object]]) -> list[str]:
    return [
        line for line in translate(spool, facts).splitlines() if not line.startswith(("BEGIN;", "COMMIT;", "-- rows"))
    ]


def test_a_write_torn_at_any_byte_leaves_the_whole_transactions_before_it(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", b"")
    for size in range(len(SAMPLE) + 1):
        spool.stream.write_bytes(SAMPLE[:size])
        with Tape(spool.paths()) as tape:
            scan = BinaryScan(tape, 0).run()
        assert (scan.end, scan.damage) == (max([end for end in ENDS if end <= size], default=0), None), size


@pytest.mark.parametrize("block", [1, 7, 64, 4 << 20])
def test_blocks_may_end_anywhere(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = fill(tmp_path / "a", SAMPLE)
    whole = translate(spool, {16385: KEYED})
    monkeypatch.setattr(tape_module, "BLOCK", block)
    with Tape(spool.paths()) as tape:
        assert [transaction.stop for transaction in BinaryScan(tape, 0)] == ENDS
    assert translate(spool, {16385: KEYED}) == whole


def test_what_is_no_message_is_damage_and_not_a_torn_end(tmp_path: Path) -> None:
    for name, damaged in {
        "hole": SAMPLE[: ENDS[0]] + bytes(100),
        "twice": SAMPLE[: ENDS[0]] + TRANSACTIONS[2][:40] + TRANSACTIONS[2],
        "order": TRANSACTIONS[2] + TRANSACTIONS[0],
        "sql": SAMPLE[: ENDS[0]] + b"BEGIN; -- xid 1 commit 0/1",
    }.items():
        spool = fill(tmp_path / name, damaged)
        with Tape(spool.paths()) as tape:
            scan = BinaryScan(tape, 0).run()
            assert scan.damage is not None, name
            with pytest.raises(ScribeError, match="damaged"):
                scan.refuse_damage()


def test_the_frames_that_a_cut_removes_are_seen(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", SAMPLE[:-5])
    with Tape(spool.paths()) as tape:
        assert frames_after(tape, ENDS[1], 0x208) == 0x300
        assert frames_after(tape, ENDS[2], 0x308) == 0x400
        assert frames_after(tape, ENDS[2] + 22, 0x308) is None
        assert frames_after(tape, ENDS[0] + 3, 0x108) == 0x108  # from the middle of a message nothing can be known


def test_the_record_of_the_last_rotation_is_used_only_behind_an_archived_transaction(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", SAMPLE)
    with Tape(spool.paths()) as tape:
        assert find_start(tape, spool, 0x208) == 0
        for offset, archived, expected in (
            (ENDS[1], 0x208, ENDS[1]),
            (ENDS[1], 0x108, None),
            (ENDS[1] - 1, 0x208, None),
        ):
            spool.state_path.write_text(json.dumps({"file": "stream.sql", "offset": offset}))
            if expected is None:
                with pytest.raises(ScribeError, match="does not fit"):
                    find_start(tape, spool, archived)
            else:
                assert find_start(tape, spool, archived) == expected


def test_a_mark_is_found_with_the_end_of_its_transaction(tmp_path: Path) -> None:
    decoder = PgOutput()
    spool = fill(tmp_path / "a", SAMPLE + transaction(0x500, message("scribe.mark", b"rotate.x")))
    content = spool.stream.read_bytes()
    mark = decoder.mark("rotate.x")
    with Tape(spool.paths()) as tape:
        assert end_after(tape, content.index(mark) + len(mark)) == 0x508
    assert "-- mark rotate.x" in body(spool, {16385: KEYED})


def test_rows_become_the_forms_of_the_dialect(tmp_path: Path) -> None:
    inserts = [change("I", 16385, b"N", row(i, "x" if i % 2 else None)) for i in range(-1, 11)]
    spool = fill(
        tmp_path / "a",
        transaction(
            0x100,
            T,
            *inserts,
            *[change("U", 16385, b"N", row(i, "it's")) for i in (1, 2)],
            change("U", 16385, b"K", row(2, None), b"N", row(3, "\\\x01")),
            *[change("D", 16385, b"K", row(i, None)) for i in (1, 3)],
        ),
    )
    assert body(spool, {16385: KEYED}) == [
        "INSERT INTO public.t (id, v) VALUES",
        "('-1', 'x'),",
        "(0, NULL),",
        *[f"({i}, {repr('x') if i % 2 else 'NULL'})," for i in range(1, 6)],
        "(6, NULL); -- 8 rows",
        "COPY public.t (id, v) FROM stdin;",
        *[f"{i}\t{'x' if i % 2 else chr(92) + 'N'}" for i in range(7, 11)],
        "\\.",
        "UPDATE public.t AS t SET v = v.v FROM (VALUES",
        "(1::pg_catalog.int4, 'it''s'::pg_catalog.text),",
        "(2, 'it''s')",
        ") AS v (id, v) WHERE t.id = v.id; -- 2 rows",
        "UPDATE public.t SET id = 3, v = E'\\\\\\x01' WHERE id = 2;",
        "DELETE FROM public.t WHERE id IN (1, 3); -- 2 rows",
    ]


def test_copy_data_cannot_forge_a_frame(tmp_path: Path) -> None:
    hostile = ["BEGIN; -- xid 1", "COMMIT; -- end 0/1", "COPY x", "-- ddl x", "\\.", "a\n\\.\nb\tc", "\x7f\x0b"]
    rows = [change("I", 16385, b"N", row(value)) for value in ["x"] * 8 + hostile]
    spool = fill(tmp_path / "a", transaction(0x100, relation(16385, "t", "f", ("v", 25, True)), *rows))
    made = translate(spool, {16385: FULL}).splitlines()
    assert made[made.index("COPY public.t (v) FROM stdin;") + 1 : made.index("\\.")] == [
        "\\BEGIN; -- xid 1",
        "\\COMMIT; -- end 0/1",
        "\\COPY x",
        "\\-- ddl x",
        "\\\\.",
        "a\\n\\\\.\\nb\\tc",
        "\\x7F\\v",
    ]


def test_rows_without_a_key_are_found_by_their_image(tmp_path: Path) -> None:
    described = relation(16385, "t", "f", ("a", 23, True), ("b", 114, True))
    spool = fill(
        tmp_path / "a",
        transaction(
            0x100,
            described,
            change("D", 16385, b"O", row(1, None)),
            change("U", 16385, b"O", row(2, '{"a": 1}'), b"N", row(3, ...)),
            change("I", 16385, b"N", row(4, None)),
            *[change("D", 16385, b"O", row(i, "x,y")) for i in (5, 6)],
        ),
    )
    image = "ROW(a, b)::record *= ROW({}::pg_catalog.int4, {}::pg_catalog.json) LIMIT 1);"
    made = body(spool, {16385: FULL})
    assert made[0] == "DELETE FROM public.t WHERE ctid = (SELECT ctid FROM ONLY public.t WHERE " + image.format(
        1, "NULL"
    )
    assert made[1].startswith("UPDATE public.t SET a = 3 WHERE ctid = ")
    assert made[1].endswith(image.format(2, "'{\"a\": 1}'"))
    assert made[3:6] == ["WITH v (image) AS (VALUES", '(\'(5,"x,y")\'::text COLLATE "C"),', "('(6,\"x,y\")')"]
    assert made[6].endswith(
        "DELETE FROM ONLY public.t AS t USING r JOIN o USING (image, n) WHERE t.ctid = r.ctid; -- 2 rows"
    )


def test_what_is_not_known_is_written_in_forms_that_need_no_knowledge(tmp_path: Path) -> None:
    described = b"Y" + struct.pack(">I", 17000) + text("s") + text("Mood")
    spool = fill(
        tmp_path / "a",
        transaction(
            0x100,
            described,
            relation(16385, "order", "d", ("id", 17000, True), ("user", 16, False)),
            change("I", 16385, b"N", row("x", "t")),
            change("U", 16385, b"N", row("x", "f")),
        ),
    )
    assert body(spool, {}) == [
        'INSERT INTO public."order" (id, "user") OVERRIDING SYSTEM VALUE VALUES (\'x\', true);',
        'UPDATE ONLY public."order" SET "user" = false WHERE ctid = (SELECT ctid FROM ONLY public."order"'
        ' WHERE ROW(id::s."Mood")::text COLLATE "C" = (SELECT ROW(\'x\'::s."Mood")::text) LIMIT 1);',
    ]


# --- one statement out of a string of several -----------------------------------------------------------------------

STRING = (
    "CREATE TABLE a (x int); INSERT INTO a VALUES (';'); /* ; */ ALTER TABLE a ADD y int;"
    " ALTER TABLE a ADD z text DEFAULT 'a;b'; COMMENT ON TABLE a IS 'z;'; DROP TABLE IF EXISTS b"
)


@pytest.mark.parametrize(
    ("tag", "identity", "after", "expected"),
    [
        ("CREATE TABLE", "public.a", -1, "CREATE TABLE a (x int)"),
        ("ALTER TABLE", "public.a", -1, "ALTER TABLE a ADD y int"),
        ("ALTER TABLE", "public.a", 2, "ALTER TABLE a ADD z text DEFAULT 'a;b'"),
        ("COMMENT", "public.a", -1, "COMMENT ON TABLE a IS 'z;'"),
        ("DROP TABLE", "public.b", -1, "DROP TABLE IF EXISTS b"),
    ],
)
def test_the_statement_that_ran_is_found(tag: str, identity: str, after: int, expected: str) -> None:
    assert choose(STRING, tag, identity, after)[1] == expected


@pytest.mark.parametrize(
    ("string", "tag", "identity"),
    [
        ("CREATE TABLE a (x int); SELECT FROM", "CREATE TABLE", "public.a"),
        (
            "CREATE TABLE IF NOT EXISTS a (x int); DROP TABLE a; CREATE TABLE IF NOT EXISTS a (y int)",
            "CREATE TABLE",
            "a",
        ),
        ("BEGIN; ALTER TABLE a ADD x int; COMMIT; ALTER TABLE a ADD y int", "ALTER TABLE", "public.a"),
        ("ALTER TABLE a ADD x int; SELECT 1", "CREATE INDEX", "public.i"),
    ],
)
def test_what_cannot_be_proved_is_not_guessed(string: str, tag: str, identity: str) -> None:
    with pytest.raises(NotSureError):
        choose(string, tag, identity, -1)


# Parts of other statements, or of function bodies.
PARTS = {"RawStmt", "SetOperationStmt", "ReturnStmt", "PLAssignStmt", "ReplicaIdentityStmt"}


def test_every_statement_of_the_grammar_is_known() -> None:
    """One of a kind not known could be any of those that ran, and its whole string would be flagged."""
    grammar = pytest.importorskip("postgast.pg_query_pb2")
    kinds = {field.message_type.name for field in grammar.Node.DESCRIPTOR.oneofs[0].fields}
    known = statements.SILENT | statements.TAGS.keys() | statements.BY_OBJECT.keys() | statements.BY_FORM
    assert {kind for kind in kinds if kind.endswith("Stmt")} == known | PARTS
    string = "CREATE TABLE a (); CREATE FUNCTION f() RETURNS event_trigger LANGUAGE c AS 'x'; GRANT ALL ON a TO b;"
    string += "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f(); COMMENT ON EVENT TRIGGER e IS 'x'; NOTIFY n"
    assert choose(string, "GRANT", None, -1)[1] == "GRANT ALL ON a TO b"
    with pytest.raises(NotSureError):
        choose(string, "COMMENT", "a", -1)


def test_the_name_in_an_identity_and_the_statements_of_a_body() -> None:
    assert [last_name(i) for i in ("public.t", 's."a b".f(integer)', '"x""y" on public.t', None)] == [
        "t",
        "f",
        'x"y',
        None,
    ]
    assert statement_number("SELECT 1; CREATE TABLE s (x int)", 2) == "CREATE TABLE s (x int)"
    with pytest.raises(NotSureError):
        statement_number("SELECT 1", 2)


# --- is a text plain: the same answers as decoder/plugin/scribe_text.c -----------------------------------------------


@pytest.mark.parametrize(
    ("sql", "plain"),
    [
        ("CREATE TABLE a (x text DEFAULT ';')", True),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $a$ SELECT 1; $a$", True),
        ("CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2)", True),
        ("SELECT 1; SELECT 2", False),
        ("SELECT ':a', $$ :a :'a' $$, a[1:2], \":a\" /* :'a' */ -- :a", True),  # psql puts no variable in there
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $a$\nSELECT 1\n;\n$a$", True),
        ("SELECT 1\n;\nSELECT 2", False),
        ("SELECT 1::int, 2 :: int", True),
        ("SELECT 1:::x", False),
        ("SELECT $$a$$:x", False),
        ("SELECT x[1:'a']", False),
        ('SELECT x[1:"a"]', False),
        ("SELECT :{?a}", False),
        ("CREATE TABLE a (\n-- pg_scribe: rows\nx int)", False),
        ("SELECT x::int FROM a", True),
        ("SELECT :x", False),
        ("SELECT 'it", False),
        ("SELECT E'a\\'b'", True),
        ("SELECT $a$ $b$", False),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", False),
        ("CREATE TABLE a (\nCOPY int)", False),
        ("COMMENT ON TABLE a IS 'x\n-- ddl end\ny'", False),
        ("SELECT 1 /* \\ */", False),
        ("SELECT 1 /* /* */ */", True),
        ("SELECT 1\\gexec", False),
        ("", False),
    ],
)
def test_plain_texts(sql: str, plain: bool) -> None:
    assert is_plain(sql) is plain


def test_the_word_concurrently_goes_and_no_other() -> None:
    assert without_concurrently("CREATE INDEX CONCURRENTLY i ON a (concurrently)", "CREATE INDEX") == (
        "CREATE INDEX i ON a (concurrently)"
    )
    assert without_concurrently('DROP INDEX CONCURRENTLY "concurrently"', "DROP INDEX") == 'DROP INDEX "concurrently"'
    assert without_concurrently("ALTER TABLE a DETACH PARTITION b CONCURRENTLY", "ALTER TABLE") == (
        "ALTER TABLE a DETACH PARTITION b"
    )
    assert without_concurrently("CREATE TABLE concurrently (x int)", "CREATE TABLE") is None
    assert without_concurrently("CREATE INDEX i ON a (b) WHERE concurrently(b)", "CREATE INDEX") is None
    assert without_concurrently("ALTER TABLE a ADD detach int, ADD x concurrently", "ALTER TABLE") is None
    assert without_concurrently("ALTER TABLE a DETACH PARTITION finalize", "ALTER TABLE") is None
    assert without_concurrently("ALTER TABLE a DETACH PARTITION b.finalize", "ALTER TABLE") is None
    assert without_concurrently("REINDEX (TABLESPACE concurrently) TABLE a", "REINDEX") is None
    for table in ("a", "only", "ONLY (a)", "IF EXISTS a . b *", "if", "U&\"!0061\" UESCAPE '!'", "/* /* */ */ detach"):
        for part in ("finalize", "partition", "s. finalize", 'u&"b"'):
            text = f"ALTER TABLE {table} DETACH PARTITION {part}"
            assert without_concurrently(f"{text} FINALIZE", "ALTER TABLE") == (text if table != "only" else None)
    assert without_concurrently("REINDEX (VERBOSE, CONCURRENTLY on) TABLE a", "REINDEX") == (
        "REINDEX (VERBOSE, CONCURRENTLY false) TABLE a"
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    ("read", "written"),
    [
        (r"SELECT 'a\'b', 'x''\\'", r"SELECT E'a\'b', E'x''\\'"),
        (r"SELECT date'2024-01-01'", r"SELECT date E'2024-01-01'"),
        (r"SELECT e'\'', E'\\', b'01', X'f'", r"SELECT e'\'', E'\\', b'01', X'f'"),
        (r"SELECT N'a\\'", r"SELECT NCHAR E'a\\'"),
        ("SELECT 'a\\\\' -- it's\n 'b', 'c'", "SELECT E'a\\\\' -- it's\n 'b', E'c'"),
        (r'SELECT "it\'s", $$\'$$ /* \' /* \' */ */ -- \'', r'SELECT "it\'s", $$\'$$ /* \' /* \' */ */ -- \''),
        (r"SELECT $a$'$$'$a$'x', $1'y'", r"SELECT $a$'$$'$a$ E'x', $1 E'y'"),
        (r"SELECT a$b'c'", r"SELECT a$b E'c'"),
        (r"SELECT U&'a'", None),
        (r"SELECT 'a\'", None),
        ("SELECT $$", None),
        ('SELECT "a', None),
    ],
)
def test_a_text_with_escapes_reads_alike_everywhere(read: str, written: str | None) -> None:
    assert with_escape_strings(read) == written
