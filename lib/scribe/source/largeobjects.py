"""Large objects: logical decoding does not see them, so a rotation sends those that changed, whole.

What the last rotation saw is kept in spool/large_objects.json; which objects a base since then holds otherwise, and the
next one therefore has to send or remove, in a file beside it. Should that file be lost, every object is sent again
and what is not among them is removed; sending too much is never wrong, since an object is always sent whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from scribe.common import files
from scribe.common.dialect import UTF8_LINE, quote_literal, quote_name
from scribe.common.errors import ScribeError

CHUNK = 64 << 10  # bytes of an object on one line
_STATE = "large_objects.json"
_NOTED = "large_objects_of_base_"

# A page is changed when its xmin (32 bits; the full id is the newest one not past the snapshot) is not visible in the
# snapshot of the last time. Pages that went (lo_truncate) show in count and size. Seen on PostgreSQL 15 to 18:
# xmin survives VACUUM FREEZE.
_OBJECTS = """
WITH snapshot AS (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::numeric AS xmax),
     pages AS (
        SELECT loid, count(*) AS pages, max(pageno) AS last, pg_catalog.sum(pg_catalog.length(data)) AS bytes,
               pg_catalog.bool_or(NOT pg_catalog.pg_visible_in_snapshot(
                   (s.xmax - mod(s.xmax - l.xmin::text::numeric + 4294967296, 4294967296))::text::pg_catalog.xid8,
                   %(snapshot)s::pg_catalog.pg_snapshot)) AS changed
        FROM pg_catalog.pg_largeobject AS l, snapshot AS s GROUP BY loid)
SELECT m.oid::int8, coalesce(p.changed, false),
       pg_catalog.concat_ws(' ', p.pages, p.last, p.bytes, pg_catalog.md5(pg_catalog.concat_ws('|',
           m.lomowner::text, m.lomacl::text, pg_catalog.obj_description(m.oid, 'pg_largeobject'))))
FROM pg_catalog.pg_largeobject_metadata AS m LEFT JOIN pages AS p ON p.loid = m.oid ORDER BY 1
"""
_PAGES = "COPY pg_catalog.pg_largeobject (loid, pageno, data) TO STDOUT (FORMAT binary)"
# What a rotation sends of an object beside its contents: owner, comment, privileges of others.
_ABOUT = """
SELECT m.oid::int8, pg_catalog.concat_ws('|', pg_catalog.pg_get_userbyid(m.lomowner),
  pg_catalog.quote_nullable(pg_catalog.obj_description(m.oid, 'pg_largeobject')),
  (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',
     CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
     a.privilege_type, a.is_grantable), ',' ORDER BY a.grantee = 0,
     pg_catalog.pg_get_userbyid(a.grantee) COLLATE "C", a.privilege_type, a.is_grantable)
   FROM pg_catalog.aclexplode(m.lomacl) AS a WHERE a.grantee <> m.lomowner))
FROM pg_catalog.pg_largeobject_metadata AS m
"""
_CONTENTS = """
SELECT loid::int8, pg_catalog.md5(pg_catalog.string_agg(pageno || ' ' || pg_catalog.md5(data), ',' ORDER BY pageno))
FROM pg_catalog.pg_largeobject GROUP BY loid
"""
_GRANTS = """
SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable
FROM pg_catalog.pg_largeobject_metadata AS m, pg_catalog.aclexplode(m.lomacl) AS a
WHERE m.oid = %s AND a.grantee <> m.lomowner
"""


@dataclass(frozen=True)
class Changes:
    """What a rotation has to send: objects that changed, objects that went, and the state to remember after it.

    gone is None when nothing is known of the last time: then everything that is not in state goes.
    """

    changed: list[int]
    gone: list[int] | None
    state: dict[str, Any]
    readable: bool = True

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone) or (self.gone is None and bool(self.state["objects"]))


def state_path(spool: Path) -> Path:
    """Where the last rotation's view is kept."""
    return spool / _STATE


def read_state(spool: Path) -> dict[str, Any] | None:
    """Return what the last rotation saw, None when that is not known."""
    try:
        state = files.read_json(state_path(spool))
    except (FileNotFoundError, ScribeError):
        return None
    return state if isinstance(state, dict) and {"snapshot", "objects"} <= state.keys() else None


def write_state(spool: Path, state: dict[str, Any]) -> None:
    """Remember what has been sent; only after the segment with it is complete."""
    files.write_json(state_path(spool), state)


def note_base(spool: Path, stamp: str, conn: psycopg.Connection[Any]) -> None:
    """Note which objects a base holds otherwise than the last rotation saw them; conn: in the base's snapshot.

    One that was made and removed between two rotations would stay in what is restored from that base.
    """
    known = read_state(spool)
    if known is None:
        return  # the next rotation sends every object, and removes all others
    rows, _ = _read_objects(conn, known["snapshot"])
    held = {str(oid): mark for oid, _, mark in rows}
    noted = [oid for oid, touched, mark in rows if touched or known["objects"].get(str(oid)) != mark]
    noted += [int(oid) for oid in known["objects"] if oid not in held]
    if noted:
        files.write_json(spool / f"{_NOTED}{stamp}.json", noted)


def read_noted(spool: Path) -> dict[Path, list[int]]:
    """Return what note_base() has noted, by file."""
    return {path: files.read_json(path) for path in sorted(spool.glob(f"{_NOTED}*.json"))}


def _read_objects(conn: psycopg.Connection[Any], snapshot: str) -> tuple[list[tuple[int, bool, str]], bool]:
    """Return OID, whether it changed since the snapshot, and a mark of each object; and whether that could be told."""
    try:
        with conn.transaction():
            return conn.execute(_OBJECTS, {"snapshot": snapshot}).fetchall(), True
    except psycopg.errors.InsufficientPrivilege:  # only a superuser sees what changed: any object may have
        return conn.execute("SELECT oid::int8, true, '' FROM pg_catalog.pg_largeobject_metadata").fetchall(), False


def look(conn: psycopg.Connection[Any], known: dict[str, Any] | None, noted: Collection[int] = ()) -> Changes:
    """Compare the large objects with those of the last time. Reads all of pg_largeobject if there are any.

    known: what read_state() returned; noted: objects that bases hold otherwise.
    """
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = conn.execute("SELECT pg_catalog.pg_current_snapshot()::text").fetchone()
        assert row is not None
        snapshot = row[0]
        rows, readable = _read_objects(conn, known["snapshot"] if known else snapshot)
    objects = {str(oid): mark for oid, _, mark in rows}
    state = {"snapshot": snapshot, "objects": objects}
    if known is None:
        return Changes([oid for oid, _, _ in rows], None, state, readable)
    before = known["objects"]
    again = set(noted)
    changed = [oid for oid, touched, mark in rows if touched or oid in again or before.get(str(oid)) != mark]
    gone = [oid for oid in sorted({*map(int, before), *again}) if str(oid) not in objects]
    return Changes(changed, gone, state, readable)


def look_again(conn: psycopg.Connection[Any], spool: Path, noted: Mapping[Path, Collection[int]]) -> Changes:
    """Compare the large objects with what the last rotation saw, and what bases since then hold; see read_noted()."""
    return look(conn, read_state(spool), [oid for oids in noted.values() for oid in oids])


def digest(conn: psycopg.Connection[Any]) -> dict[str, Any] | None:
    """Return number and digest of all large objects as conn sees them, None if this role may not read them all.

    What a reader of an object cannot tell apart is the same: pages that are missing, or are all zeros.
    """
    size = int(conn.execute("SELECT pg_catalog.current_setting('block_size')::int / 4").fetchone()[0])  # type: ignore[index]
    total = 0
    ends: dict[int, int] = {}
    try:
        with conn.cursor() as cursor, cursor.copy(_PAGES) as copy:
            copy.set_types(["oid", "int4", "bytea"])
            for oid, page, data in copy.rows():
                ends[oid] = max(ends.get(oid, 0), page * size + len(data))
                if stripped := data.rstrip(b"\0"):
                    total += _hash(oid, page, stripped)
    except psycopg.errors.InsufficientPrivilege:
        return None
    objects = conn.execute(_ABOUT).fetchall()
    for oid, about in objects:
        total += _hash(oid, -1, f"{ends.get(oid, 0)}|{about}".encode())
    return {"number": len(objects), "digest": f"{total % (1 << 128):032x}"}


def fingerprints(conn: psycopg.Connection[Any]) -> dict[int, str]:
    """Return a digest for each large object, of its contents and of what is sent beside them; conn: a superuser's."""
    about = dict(conn.execute(_ABOUT).fetchall())
    pages = dict(conn.execute(_CONTENTS).fetchall())
    return {oid: f"{pages.get(oid)} {text}" for oid, text in about.items()}


def _hash(oid: int, page: int, data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(b"%d %d " % (oid, page) + data, digest_size=16).digest(), "big")


def statements(conn: psycopg.Connection[Any], changes: Changes) -> Iterator[str]:
    """Yield one statement per line that makes the target's large objects equal to the source's."""
    yield UTF8_LINE
    if changes.gone is None:
        kept = ", ".join(changes.state["objects"])
        yield _unlink(f"oid NOT IN ({kept})" if kept else "true")
    elif changes.gone:
        yield _unlink(f"oid IN ({', '.join(map(str, changes.gone))})")
    for oid in changes.changed:
        try:
            yield from _one(conn, oid)
        except psycopg.errors.UndefinedObject:  # unlinked meanwhile; the next rotation says so
            yield _unlink(f"oid = {oid}")


def _unlink(condition: str) -> str:
    return (
        "SELECT pg_catalog.count(pg_catalog.lo_unlink(oid)) AS unlinked"
        f" FROM pg_catalog.pg_largeobject_metadata WHERE {condition};\n"
    )


def _one(conn: psycopg.Connection[Any], oid: int) -> Iterator[str]:
    row = conn.execute(
        "SELECT pg_catalog.pg_get_userbyid(lomowner), pg_catalog.obj_description(oid, 'pg_largeobject')"
        " FROM pg_catalog.pg_largeobject_metadata WHERE oid = %s",
        [oid],
    ).fetchone()
    if row is None:
        yield _unlink(f"oid = {oid}")
        return
    owner, comment = row
    yield _unlink(f"oid = {oid}")
    yield f"SELECT pg_catalog.lo_create({oid});\n"
    offset = 0
    while data := _read(conn, oid, offset):
        yield f"SELECT pg_catalog.lo_put({oid}, {offset}, '\\x{data.hex()}');\n"
        offset += len(data)
    yield f"ALTER LARGE OBJECT {oid} OWNER TO {quote_name(owner)};\n"
    if comment is not None:
        yield f"COMMENT ON LARGE OBJECT {oid} IS {quote_literal(comment)};\n"
    for grantee, privilege, grantable in conn.execute(_GRANTS, [oid]).fetchall():
        whom = "PUBLIC" if grantee is None else quote_name(grantee)
        option = " WITH GRANT OPTION" if grantable else ""
        yield f"GRANT {privilege} ON LARGE OBJECT {oid} TO {whom}{option};\n"


def _read(conn: psycopg.Connection[Any], oid: int, offset: int) -> bytes:
    row = conn.execute("SELECT pg_catalog.lo_get(%s::oid, %s::int8, %s)", [oid, offset, CHUNK], binary=True).fetchone()
    return bytes(row[0]) if row else b""
