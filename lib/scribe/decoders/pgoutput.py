"""The decoder pgoutput: PostgreSQL's own output plugin, for servers where no library can be installed.

Its stream is binary and is translated at rotation. What a translation must know beyond the messages at hand (relations
are described once in a session of the server's, tables' facts once when they change) is kept in spool/knowledge.json
as of the last rotation; reading a message again that it knows already changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scribe.common import files
from scribe.common.errors import ScribeError, UsageError
from scribe.common.paths import SQL
from scribe.common.postgres import connect, fetch_value, is_superuser
from scribe.decoders import pgmessages
from scribe.decoders.base import Decoder, Text
from scribe.decoders.pgmessages import BinaryScan, Column, Relation, format_moment, read_begin
from scribe.decoders.pgstream import MessageTranslator
from scribe.decoders.rows.tables import CARRIER
from scribe.decoders.rows.text import Knowledge
from scribe.source.capture import has_triggers
from scribe.source.ownership import has_function
from scribe.spool.contents import Scan, Spool, Tape

GENERATED_SINCE = 180000  # server_version_num
_SHOWN = 5  # objects named in a message
MARK = "pg_scribe:"  # begins the comment on our publications
# What the text of values depends on; a walsender takes it from its role and database otherwise.
_PINNED = {
    "datestyle": "ISO,MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "search_path": "",
    "quote_all_identifiers": "off",
}
_PUBLICATION = """
SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot,
       EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = p.oid
               AND pg_catalog.concat(pg_catalog.to_jsonb(r) ->> 'prqual', pg_catalog.to_jsonb(r) ->> 'prattrs') <> '')
FROM pg_catalog.pg_publication AS p WHERE pubname = %s
"""

_MAY_REMEMBER = """
SELECT pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
FROM pg_catalog.pg_proc AS p, pg_catalog.pg_class AS c
WHERE p.oid = pg_catalog.to_regproc('scribe.owners') AND c.oid = pg_catalog.to_regclass('scribe.seen_owner')
"""
_UNSEEN = """
SELECT o.classid::int8, o.objid::int8, o.owner::int8 FROM scribe.owners(NULL) AS o
WHERE NOT EXISTS (SELECT FROM scribe.seen_owner AS s WHERE s.classid = o.classid AND s.objid = o.objid)
"""
_COMMENT = "SELECT pg_catalog.obj_description(oid, 'pg_publication') FROM pg_catalog.pg_publication WHERE pubname = %s"
_OWN_TABLES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY 1, 2
"""


class PgOutput(Decoder):
    """See the module."""

    plugin = "pgoutput"

    def fault(self, conn: psycopg.Connection[Any], identity: Mapping[str, Any]) -> str | None:
        """See Decoder: the publication is gone or does not publish everything."""
        name = identity["publication"]
        row = conn.execute(_PUBLICATION, [name]).fetchone()
        if row is None:
            return f'publication "{name}" was dropped'
        if _flaw(row):
            return f'publication "{name}" was changed: it does not publish everything any more'
        return None

    def needs_source(self, identity: Mapping[str, Any]) -> bool:
        """See Decoder: only a look at the catalog can tell that a schema change came between."""
        return bool(identity["schema_changes"] == "detected")

    def examine(self, conn: psycopg.Connection[Any], spool: Spool, identity: Mapping[str, Any]) -> str | None:
        """See Decoder: a schema change that no event trigger could record."""
        if not self.needs_source(identity):
            return None
        known, now = files.read_json(_schema_path(spool)), read_fingerprint(conn)
        changed = sorted(name for name in known.keys() | now.keys() if known.get(name) != now.get(name))
        if not changed:
            return None
        shown = ", ".join(changed[:_SHOWN]) + (f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else "")
        return f"the schema was changed, which this role's stream does not contain: {shown}"

    def prepare(self, conn: psycopg.Connection[Any], slot: str) -> None:
        """See Decoder: the publication."""
        create_publication(conn, slot)

    def retire(self, conn: psycopg.Connection[Any], slot: str, act: Callable[[str], bool]) -> None:
        """See Decoder."""
        if _is_ours(conn, slot) and act(f'drop publication "{slot}"'):
            _run_own(conn, sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(slot)))

    def describe(self, conn: psycopg.Connection[Any], slot: str) -> dict[str, Any]:
        """See Decoder."""
        return {"publication": slot, "schema_changes": "captured" if has_triggers(conn) else "detected"}

    def look(self, conn: psycopg.Connection[Any], slot: str) -> Callable[[Spool], None]:
        """See Decoder."""
        remember_owners(conn)
        knowledge = read_capture(conn, slot, facts_query())
        schema = None if has_triggers(conn) else read_fingerprint(conn)

        def keep(spool: Spool) -> None:
            write_knowledge(spool, knowledge)
            files.write_json(_schema_path(spool), schema)

        return keep

    def look_again(self, conn: psycopg.Connection[Any], spool: Spool) -> None:
        """See Decoder."""
        knowledge, found = read_knowledge(spool), read_capture(conn, "", facts_query())
        knowledge.audit |= found.audit
        knowledge.store |= found.store
        write_knowledge(spool, knowledge)

    def receiver_options(self, identity: Mapping[str, Any], left_out: Sequence[str] = ()) -> list[str]:
        """See Decoder."""
        options = ("proto_version=1", f"publication_names={identity['publication']}", "messages=true")
        return [*super().receiver_options(identity, left_out), *(f"--option={option}" for option in options)]

    def server_options(self, identity: Mapping[str, Any]) -> str:
        """See Decoder."""
        return pinned_options(str(identity["encoding"]))

    def scan(self, tape: Tape, start: int, position: int = 0, tick: Callable[[], None] = lambda: None) -> Scan:
        """See Decoder."""
        return BinaryScan(tape, start, position, tick)

    def find_start(self, tape: Tape, spool: Spool, archived: int) -> int:
        """See Decoder."""
        return pgmessages.find_start(tape, spool, archived)

    def frames_after(self, tape: Tape, offset: int, position: int) -> int | None:
        """See Decoder."""
        return pgmessages.frames_after(tape, offset, position)

    def first_time(self, block: bytes) -> str | None:
        """See Decoder."""
        return format_moment(read_begin(block, 0).micros) if block[:1] == b"B" and len(block) > 20 else None

    def mark(self, name: str) -> bytes:
        """See Decoder."""
        return b"scribe.mark\0" + len(name).to_bytes(4, "big") + name.encode() + b"\n"

    def end_after(self, tape: Tape, offset: int) -> int | None:
        """See Decoder."""
        return pgmessages.end_after(tape, offset)

    def open_text(self, spool: Spool, tape: Tape, scan: Scan) -> Text:
        """See Decoder."""
        knowledge = read_knowledge(spool)

        def save() -> None:
            if knowledge.changed:
                write_knowledge(spool, knowledge)
                knowledge.changed = False

        return MessageTranslator(tape, scan.start, knowledge, save)


def pinned_options(encoding: str) -> str:
    """Return the server options that make the text of values what a segment's header says; encoding: the database's."""
    pinned = _PINNED | {"client_encoding": encoding}
    return " ".join(f"-c {name}={value}" for name, value in pinned.items())


# --- what is known --------------------------------------------------------------------------------------------------


def _path(spool: Spool) -> Path:
    return spool.path / "knowledge.json"


def read_knowledge(spool: Spool) -> Knowledge:
    """Return what the last rotation, or scribe-init, knew. Raises ScribeError where that is gone."""
    try:
        value = files.read_json(_path(spool))
        relations = [
            Relation(relid, schema, name, identity, tuple(Column(*column) for column in columns))
            for relid, schema, name, identity, columns in value["relations"]
        ]
        return Knowledge(
            relations={relation.relid: relation for relation in relations},
            types={int(oid): (schema, name) for oid, (schema, name) in value["types"].items()},
            facts={int(relid): facts for relid, facts in value["facts"].items()},
            audit=set(value["audit"]),
            store=set(value["store"]),
            made=set(value.get("made", ())),
            publication=value["publication"],
            taken=[(name, lsn, xid) for name, lsn, xid in value.get("taken", ())],
        )
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ScribeError(
            f'what is known of the stream is not in "{_path(spool)}": {error}',
            'If the file cannot be brought back from a copy, run "scribe-init" to begin a new chain.',
        ) from None


def write_knowledge(spool: Spool, knowledge: Knowledge) -> None:
    """Keep what is known, durably."""
    relations = [
        [r.relid, r.schema, r.name, r.identity, [[c.name, c.type, c.typmod, c.key] for c in r.columns]]
        for r in knowledge.relations.values()
    ]
    files.write_json(
        _path(spool),
        {
            "relations": relations,
            "types": knowledge.types,
            "facts": knowledge.facts,
            "audit": sorted(knowledge.audit),
            "store": sorted(knowledge.store),
            "made": sorted(knowledge.made),
            "publication": knowledge.publication,
            "taken": knowledge.taken,
        },
    )


# --- in the source --------------------------------------------------------------------------------------------------


def _schema_path(spool: Spool) -> Path:
    return spool.path / "schema.json"


def read_fingerprint(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """Return a digest of every object of the schema."""
    query = (SQL / "fingerprint.sql").read_bytes()
    found = conn.execute(query)
    found.nextset()  # after that of SET search_path
    return {name: digest[:16] for name, digest in found.fetchall()}


def facts_query() -> str:
    """Return the query for the facts of all tables."""
    body = (SQL / "capture/without_library/table_facts.sql").read_text(encoding="utf-8").split("$function$")[1]
    facts = body.partition("RETURN QUERY")[2].rpartition(";")[0]
    tables = "ARRAY(SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relkind IN ('r', 'p'))"
    return f"SELECT f.* FROM (SELECT {tables}) AS a (tables), LATERAL ({facts}) AS f"


def read_facts(conn: psycopg.Connection[Any], facts: str) -> dict[int, dict[str, Any]]:
    """Return the facts of every table, their names as the stream has them; facts: the query for them."""
    query = (
        f"SELECT relid::int8, pg_catalog.convert_to(facts, pg_catalog.getdatabaseencoding()) FROM ({facts}) AS f"
    ).replace("%", "%%")
    return {relid: json.loads(facts.decode(CARRIER)) for relid, facts in conn.execute(query, []).fetchall()}


def read_capture(conn: psycopg.Connection[Any], publication: str, facts: str) -> Knowledge:
    """Return what is known where a chain begins; conn sees the snapshot at which it does. facts: the query for them."""
    found = Knowledge(facts=read_facts(conn, facts), publication=publication, changed=True)
    for name, oids in (("ddl_history", found.audit), ("table_facts", found.store)):
        oid = fetch_value(conn, "SELECT pg_catalog.to_regclass(%s)::oid::int8", [f"scribe.{name}"])
        if oid is not None:
            oids.add(oid)
    return found


def remember_owners(conn: psycopg.Connection[Any]) -> None:
    """Let capture know what was made by transactions older than its triggers, and stands in the base.

    conn: sees the snapshot of the base, and reads only.
    """
    if not has_function(conn, "owners") or not fetch_value(conn, _MAY_REMEMBER):
        return
    rows = conn.execute(_UNSEEN).fetchall()
    if rows:
        with connect() as writer, writer.cursor() as cursor:
            cursor.executemany("INSERT INTO scribe.seen_owner VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", rows)


def publication_of(conn: psycopg.Connection[Any], name: str) -> bool:
    """Whether there is a publication of that name."""
    return bool(fetch_value(conn, "SELECT true FROM pg_catalog.pg_publication WHERE pubname = %s", [name]))


def _flaw(row: tuple[Any, ...]) -> bool:
    """Whether a row of _PUBLICATION is that of one that leaves something out."""
    return not row[1] or row[2] or bool(row[3])


def _is_ours(conn: psycopg.Connection[Any], name: str) -> bool:
    return str(fetch_value(conn, _COMMENT, [name]) or "").startswith(MARK)


def create_publication(conn: psycopg.Connection[Any], name: str) -> None:
    """Recreate the publication: of all tables, or where that takes a superuser of those we own.

    Where a superuser has installed capture for this role, the publication is that one's, too.
    Raises UsageError where one of that name is somebody else's.
    """
    if not is_superuser(conn) and has_triggers(conn):
        _check_publication(conn, name)
        return
    if _is_ours(conn, name):
        _run_own(conn, sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(name)))
    elif publication_of(conn, name):
        raise UsageError(f'publication "{name}" exists and is not pg_scribe\'s', "Set SCRIBE_SLOT to another name.")
    what: sql.Composable = sql.SQL("FOR ALL TABLES")
    if not is_superuser(conn):
        tables = [sql.Identifier(*row) for row in conn.execute(_OWN_TABLES).fetchall()]
        listed = sql.SQL(", ").join(sql.SQL("ONLY {}").format(table) for table in tables)
        what = sql.SQL("FOR TABLE {}").format(listed) if tables else sql.SQL("")
    if conn.info.server_version >= GENERATED_SINCE:  # or it bars UPDATE of tables with such columns and no key
        what += sql.SQL(" WITH (publish_generated_columns = stored)")
    _run_own(conn, sql.SQL("CREATE PUBLICATION {} {}").format(sql.Identifier(name), what))
    comment = sql.Literal(f"{MARK} what scribe-stream receives; dropping or changing it breaks the archive's chain")
    _run_own(conn, sql.SQL("COMMENT ON PUBLICATION {} IS {}").format(sql.Identifier(name), comment))


def _check_publication(conn: psycopg.Connection[Any], name: str) -> None:
    row = conn.execute(_PUBLICATION, [name]).fetchone()
    if not _is_ours(conn, name) or row is None or not row[0] or _flaw(row):
        raise UsageError(
            f'publication "{name}" does not publish all of every table, and making it takes a superuser',
            f'Let a superuser run "psql -v slot={name} -f sql/roles.sql" in this database, then try again.',
        )


def _run_own(conn: psycopg.Connection[Any], statement: sql.Composed) -> None:
    """Run a statement that capture, where there is one, does not record."""
    if has_function(conn, "run_own"):
        conn.execute("SELECT scribe.run_own(%s)", [statement.as_string(conn)])
    else:
        conn.execute(statement)
