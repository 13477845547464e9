"""Functions that a restore runs, and that stop it there.

They name others without their schema: rows are loaded with an empty search path. That is so for pg_dump's own restores
too, since a path that users can change would let them put their objects in the place of others. Which names a function
means is not known before it runs, so that this is a search of its text: names of users' functions before a parenthesis,
of their tables after FROM and its like, and of their types after "::". Or they refuse to work under
session_replication_role = replica, or read tables that hold something else by then. A materialized view's query may
hand the text of another to a function of PostgreSQL's, such as ts_stat().
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.common.dialect import quote_identifier

# The functions that generated columns, indexes, CHECK constraints and domains use: their text, and where they are used.
_USED = """
SELECT p.oid::pg_catalog.regprocedure::text, n.nspname,
  CASE WHEN pg_catalog.octet_length(p.prosrc) <= %s AND pg_catalog.sum(pg_catalog.octet_length(p.prosrc))
    OVER (ORDER BY pg_catalog.octet_length(p.prosrc), p.oid) <= %s THEN p.prosrc END,
  EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS c (entry) WHERE c.entry LIKE 'search\\_path=%%'),
  pg_catalog.min(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_proc AS p ON p.oid = d.refobjid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang AND l.lanname IN ('sql', 'plpgsql')
WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND pg_catalog.to_jsonb(p) ->> 'prosqlbody' IS NULL
  AND (EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indexrelid = d.objid
         AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
    OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.oid = d.objid AND k.contype = 'c'
         AND d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass)
    OR EXISTS (SELECT FROM pg_catalog.pg_rewrite AS r JOIN pg_catalog.pg_class AS m ON m.oid = r.ev_class
         WHERE m.relkind = 'm' AND r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass)
    OR EXISTS (SELECT FROM pg_catalog.pg_attrdef AS f JOIN pg_catalog.pg_attribute AS a
         ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
         WHERE f.oid = d.objid AND d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
           OR a.attrelid = d.objid AND a.attnum = d.objsubid  -- before PostgreSQL 15
             AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass))
GROUP BY p.oid, n.nspname, p.prosrc, p.proconfig ORDER BY 1
"""
# From 17 on, the source computes them with an empty search path itself.
_QUERIES = """
SELECT DISTINCT m.oid::pg_catalog.regclass::text, n.nspname, p.proname::text, pg_catalog.pg_get_viewdef(m.oid)
FROM pg_catalog.pg_class AS m JOIN pg_catalog.pg_namespace AS n ON n.oid = m.relnamespace
  JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = m.oid
  JOIN pg_catalog.pg_proc AS p ON p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
    AND (p.proname IN ('ts_stat', 'ts_rewrite') OR p.proname LIKE 'query\\_to\\_xml%%')
    AND pg_catalog.strpos(r.ev_action::pg_catalog.text, ':funcid ' || p.oid || ' ') > 0
WHERE m.relkind = 'm' AND pg_catalog.current_setting('server_version_num')::int < 170000
ORDER BY 1, 3
"""
_NAMES = """
SELECT 'function', proname FROM pg_catalog.pg_proc
  WHERE pronamespace NOT IN ('pg_catalog'::pg_catalog.regnamespace, 'information_schema'::pg_catalog.regnamespace)
UNION SELECT 'relation', relname FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND relnamespace NOT IN ('pg_catalog'::pg_catalog.regnamespace, 'information_schema'::pg_catalog.regnamespace)
UNION SELECT 'type', typname FROM pg_catalog.pg_type
  WHERE typnamespace NOT IN ('pg_catalog'::pg_catalog.regnamespace, 'information_schema'::pg_catalog.regnamespace)
"""
# What is not closed goes to the text's end: tried again at each sign, it would take hours of a long text. Quantifiers
# that give nothing back (++) keep no state for each character either.
_TOKEN = re.compile(
    r"""--[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?|'(?:[^']|'')*+'?"""
    r"""|(?P<name>"(?:[^"]|"")*+"?|[A-Za-z_\x80-\U0010ffff][\w$]*+)|::|\S"""
)
# Bytes that are looked at: of one function's text, and of all, the shortest first. What goes beyond is reported.
_LONGEST = 256 << 10
_MOST = 4 << 20
_BEFORE_RELATION = {"from", "join", "into", "update", "only"}


@dataclass(frozen=True)
class Unqualified:
    """A function, where it is used, and why a restore stops there; name: what it needs a search path for, or None.

    looked_at: whether its text was read; advice: what to do, if not what is done about a function of a user's.
    """

    function: str
    schema: str
    used: str
    name: str | None
    reason: str
    looked_at: bool = True
    advice: str = ""

    @property
    def outcome(self) -> str:
        """What becomes of a restore."""
        return f"a restore {'stops' if self.looked_at else 'may stop'} there"

    @property
    def text(self) -> str:
        """What is wrong, in words."""
        return f"function {self.function}, used by {self.used}, {self.reason}"

    @property
    def remedy(self) -> str:
        """The statement that cures it; empty if there is none."""
        if self.name is None or self.advice:
            return ""
        return f"ALTER FUNCTION {self.function} SET search_path = {quote_identifier(self.schema)}, pg_temp"

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.advice:
            return self.advice
        if self.remedy:
            return f'Run "{self.remedy}".'
        return f"Change {self.function}, or what uses it: a trigger can check the same, and does not act in a restore."


def find_unqualified(conn: psycopg.Connection[Any]) -> list[Unqualified]:
    """Return the functions that a restore is likely to stop at."""
    used = conn.execute(_USED, [_LONGEST, _MOST]).fetchall()
    queries = conn.execute(_QUERIES, []).fetchall()
    if not used and not queries:
        return []
    names: dict[str, set[str]] = {"function": set(), "relation": set(), "type": set()}
    for kind, name in conn.execute(_NAMES).fetchall():
        names[kind].add(name)
    found = []
    for function, schema, text, has_path, where in used:
        if text is None:
            found.append(Unqualified(function, schema, where, None, "is too long to be looked at", looked_at=False))
            continue
        name = None if has_path else first_unqualified(text, names)
        if name is not None:
            reason = f"names {name} without its schema"
        elif "session_replication_role" in text.lower():
            reason = 'asks for session_replication_role, which is "replica" in a restore'
        elif _checks_rows(where) and (table := first_read(text, names["relation"])) is not None:
            reason = f"reads {table}, which may hold something else in a restore"
        else:
            continue
        found.append(Unqualified(function, schema, where, name, reason))
    for view, schema, function, text in queries:
        if (name := _first_in_literals(text[:_LONGEST], names)) is not None:
            reason = f"is given a query that names {name} without its schema"
            advice = "Make the view again with the schema's name in that query."
            found.append(Unqualified(function, schema, f"materialized view {view}", name, reason, advice=advice))
    return found


def _first_in_literals(text: str, names: dict[str, set[str]]) -> str | None:
    """Return the first name without a schema in what are literals of a view's definition."""
    literals = [match[0] for match in _TOKEN.finditer(text) if match[0].startswith("'")]
    found = (first_unqualified(literal[1:-1].replace("''", "'"), names) for literal in literals)
    return next((name for name in found if name is not None), None)


def _checks_rows(used: str) -> bool:
    """Whether it is a constraint, as pg_describe_object() says: what refuses rows."""
    return used.startswith("constraint ")


def first_read(text: str, relations: set[str]) -> str | None:
    """Return the first of users' tables that a function reads, by its name with or without a schema."""
    words = [match["name"] or match[0] for match in _TOKEN.finditer(text) if not match[0].startswith(("--", "/*", "'"))]
    for number, word in enumerate(words):
        if word.lower() not in ("from", "join"):
            continue
        place = number + 3 if words[number + 2 : number + 3] == ["."] else number + 1
        if place < len(words) and _bare(words[place]) in relations:
            return _bare(words[place])
    return None


def _bare(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()


def first_unqualified(text: str, names: dict[str, set[str]]) -> str | None:
    """Return the first name in a function's text that stands without a schema and is a user's object's."""
    tokens = [(match["name"], match[0]) for match in _TOKEN.finditer(text) if not match[0].startswith(("--", "/*"))]
    for number, (word, _) in enumerate(tokens):
        if word is None:
            continue
        name = _bare(word)
        before = tokens[number - 1][1].lower() if number else ""
        after = tokens[number + 1][1] if number + 1 < len(tokens) else ""
        if before == "." or after == ".":
            continue
        if after == "(" and name in names["function"]:
            return name
        if (before in _BEFORE_RELATION and after != "(" and name in names["relation"]) or (
            before == "::" and name in names["type"]
        ):
            return name
    return None
