"""Functions that a restore runs, and that stop it there.

They name others without their schema: rows are loaded with an empty search path. That is so for pg_dump's own restores
too, since a path that users can change would let them put their objects in the place of others. Which names a function
means is not known before it runs, so that this is a search of its text: names of users' functions before a parenthesis,
of their tables after FROM and its like, and of their types after "::". Or they refuse to work under
session_replication_role = replica, or read tables that hold something else by then, or write, themselves or in another
function that they call: what they wrote on the source is restored as well. A materialized view's query may hand the
text of another to a function of PostgreSQL's, such as ts_stat().
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.common.dialect import quote_name

# A function's text; of one that was parsed when it was made (PARSED, since 14), that of its body. What is too long for
# that stays a text of which nothing is looked at: a server fails at a pattern, or as JSON, of some hundred megabytes.
_SHORT = "pg_catalog.octet_length(p.prosrc) <= %s AND coalesce(pg_catalog.octet_length(PARSED::text), 0) <= 10000000"
_HAS_PATH = """(EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS c (entry) WHERE c.entry LIKE 'search\\_path=%%')
    OR PARSED IS NOT NULL)"""  # names are known there
_BODY = """coalesce(pg_catalog.substring(CASE WHEN PARSED IS NOT NULL
    THEN pg_catalog.pg_get_functiondef(p.oid) END, '\\n\\s*(?:BEGIN ATOMIC|RETURN ).*'), p.prosrc)"""
# What computes something where rows are restored: generated columns, indexes, keys of partitioned tables, materialized
# views, CHECKs of domains, and those of tables, if they are looked at.
_COMPUTES = """(
    r.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND (
      EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = r.object AND r.sub = 0 AND c.relkind IN ('i','I','p'))
      OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS a  -- before PostgreSQL 15
           WHERE a.attrelid = r.object AND a.attnum = r.sub AND a.attgenerated <> ''))
    OR r.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
         WHERE k.oid = r.object AND (k.contype = 'x' OR k.contype = 'c' AND (k.contypid <> 0 OR %s)))
    OR r.class = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND EXISTS (SELECT FROM pg_catalog.pg_rewrite AS w
         JOIN pg_catalog.pg_class AS m ON m.oid = w.ev_class WHERE w.oid = r.object AND m.relkind = 'm')
    OR r.class = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND EXISTS (SELECT FROM pg_catalog.pg_attrdef AS f
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
         WHERE f.oid = r.object AND a.attgenerated <> ''))"""
# The functions that it uses: their text, and where they are used. They may be an operator's, an aggregate's, another
# function's or a view's, support an operator class, or tell how far apart the values of a range are.
_USED = f"""
WITH RECURSIVE written AS MATERIALIZED (
  SELECT p.oid, n.nspname FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang AND l.lanname IN ('sql', 'plpgsql')
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND p.prorettype NOT IN ('pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype)
), supporting AS MATERIALIZED (
  SELECT s.amproc::pg_catalog.oid AS function, c.oid AS class
  FROM pg_catalog.pg_amproc AS s JOIN written AS w ON w.oid = s.amproc
    JOIN pg_catalog.pg_opclass AS c ON c.opcfamily = s.amprocfamily
), measuring AS MATERIALIZED (
  SELECT g.rngsubdiff::pg_catalog.oid AS function, i.indexrelid AS index
  FROM pg_catalog.pg_range AS g JOIN written AS w ON w.oid = g.rngsubdiff
    JOIN pg_catalog.pg_attribute AS a ON a.atttypid = g.rngtypid
    JOIN pg_catalog.pg_index AS i ON i.indexrelid = a.attrelid
), reached (function, class, object, sub) AS (
  SELECT w.oid, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, w.oid, 0 FROM written AS w
  UNION SELECT r.function, e.class, e.object, e.sub
  FROM reached AS r, LATERAL (
    SELECT d.classid, d.objid, d.objsubid FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = r.class AND d.refobjid = r.object
      AND r.class <> 'pg_catalog.pg_rewrite'::pg_catalog.regclass
      AND (r.class <> 'pg_catalog.pg_class'::pg_catalog.regclass
        OR EXISTS (SELECT FROM pg_catalog.pg_class AS v WHERE v.oid = r.object AND v.relkind = 'v'))
      AND d.classid IN ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
        'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass,
        'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_attrdef'::pg_catalog.regclass)
    UNION ALL SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, s.class, 0 FROM supporting AS s
    WHERE r.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND s.function = r.object
    UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, m.index, 0 FROM measuring AS m
    WHERE r.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND m.function = r.object
    UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, w.ev_class, 0 FROM pg_catalog.pg_rewrite AS w
    WHERE r.class = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = r.object
  ) AS e (class, object, sub)
), used AS (
  SELECT r.function, pg_catalog.min(pg_catalog.pg_describe_object(r.class, r.object, r.sub)) AS place
  FROM reached AS r WHERE {_COMPUTES} GROUP BY 1
)
SELECT p.oid::pg_catalog.regprocedure::text, n.nspname,
  CASE WHEN {_SHORT} AND pg_catalog.sum(pg_catalog.octet_length(p.prosrc))
    OVER (ORDER BY pg_catalog.octet_length(p.prosrc), p.oid) <= %s THEN {_BODY} END,
  {_HAS_PATH}, u.place
FROM used AS u JOIN pg_catalog.pg_proc AS p ON p.oid = u.function
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace ORDER BY 1
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
# Functions of these names, with their texts, the shortest first.
_CALLED = f"""
SELECT p.oid::pg_catalog.regprocedure::text, n.nspname::text, p.proname::text,
  CASE WHEN {_SHORT} AND pg_catalog.sum(
    pg_catalog.octet_length(p.prosrc)) OVER (ORDER BY pg_catalog.octet_length(p.prosrc), p.oid) <= %s
  THEN {_BODY} END, {_HAS_PATH}
FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang AND l.lanname IN ('sql', 'plpgsql')
WHERE p.proname = ANY (%s) AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
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
# What begins a statement that writes, and what may stand before a statement.
_WRITES = {"insert", "update", "delete", "merge", "truncate", "create", "alter", "drop", "comment", "grant", "revoke"}
_BEFORE_STATEMENT = {"", ";", "(", "begin", "atomic", "then", "else", "loop"}
_CALLS_DEEP = 8


@dataclass(frozen=True)
class Unqualified:
    """A function, where it is used, and why a restore stops there; name: what it needs a search path for, or None.

    looked_at: whether its text was read; advice: what to do, if not what is done about a function of a user's;
    writes: that is what is wrong.
    """

    function: str
    schema: str
    used: str
    name: str | None
    reason: str
    looked_at: bool = True
    advice: str = ""
    writes: bool = False

    @property
    def outcome(self) -> str:
        """What becomes of a restore."""
        if self.writes:
            return "a restore stops there or differs"
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
        return f"ALTER FUNCTION {self.function} SET search_path = {quote_name(self.schema)}, pg_temp"

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.advice:
            return self.advice
        if self.remedy:
            return f'Run "{self.remedy}".'
        return f"Change {self.function}, or what uses it: a trigger can check the same, and does not act in a restore."


@dataclass(frozen=True)
class _Called:
    """A function that another one may call; has_path: it finds names by a path of its own, or has them parsed."""

    function: str
    schema: str
    text: str
    has_path: bool


def find_unqualified(conn: psycopg.Connection[Any], decoder: str) -> list[Unqualified]:
    """Return the functions that a restore is likely to stop at. decoder_raw's segments look at CHECKs of tables."""
    used = conn.execute(_for_server(conn, _USED), [decoder == "decoder_raw", _LONGEST, _MOST]).fetchall()
    queries = conn.execute(_QUERIES, []).fetchall()
    if not used and not queries:
        return []
    names: dict[str, set[str]] = {"function": set(), "relation": set(), "type": set()}
    for kind, name in conn.execute(_NAMES).fetchall():
        names[kind].add(name)
    found = {}
    bodies = _find_called(conn, [text for _, _, text, _, _ in used if text is not None], names["function"])
    writers = _find_writers(bodies, names["function"])
    for function, schema, text, has_path, where in used:
        if text is None:
            found[function] = Unqualified(function, schema, where, None, "is too long to be looked at", looked_at=False)
            continue
        name = None if has_path else first_unqualified(text, names)
        writes = False
        if name is not None:
            reason = f"names {name} without its schema"
        elif "session_replication_role" in text.lower():
            reason = 'asks for session_replication_role, which is "replica" in a restore'
        elif (verb := first_write(text)) is not None:
            writes, reason = True, f"writes ({verb}), and does so again in a restore"
        elif (called := next((call for call in calls(text, names["function"]) if call in writers), None)) is not None:
            writes, reason = True, f"calls {called}, which writes ({writers[called]}), and does so again in a restore"
        elif _checks_rows(where) and (table := first_read(text, names["relation"])) is not None:
            reason = f"reads {table}, which may hold something else in a restore"
        else:
            for inner, name in [] if has_path else _unqualified_further(text, bodies, names):
                reason = f"names {name} without its schema"
                found.setdefault(inner.function, Unqualified(inner.function, inner.schema, where, name, reason))
            continue
        found[function] = Unqualified(function, schema, where, name, reason, writes=writes)
    results = [found[function] for function in sorted(found)]
    for view, schema, function, text in queries:
        if (name := _first_in_literals(text[:_LONGEST], names)) is not None:
            reason = f"is given a query that names {name} without its schema"
            advice = "Make the view again with the schema's name in that query."
            results.append(Unqualified(function, schema, f"materialized view {view}", name, reason, advice=advice))
    return results


def _for_server(conn: psycopg.Connection[Any], query: str) -> bytes:
    return query.replace("PARSED", "p.prosqlbody" if conn.info.server_version >= 140000 else "NULL").encode()


def _find_called(conn: psycopg.Connection[Any], texts: list[str], functions: set[str]) -> dict[str, list[_Called]]:
    """Return the users' functions that these texts call, through others as well, by name, with or without a schema."""
    bodies: dict[str, list[_Called]] = {}
    new = {name for text in texts for name in calls(text, functions)}
    for _ in range(_CALLS_DEEP):
        if not new:
            break
        bodies |= {name: [] for name in new}
        rows = conn.execute(_for_server(conn, _CALLED), [_LONGEST, _MOST, sorted(new)]).fetchall()
        for function, schema, name, text, has_path in rows:
            bodies[name] += [] if text is None else [_Called(function, schema, text, has_path)]
        new = {call for name in new for body in bodies[name] for call in calls(body.text, functions)} - bodies.keys()
    return bodies


def _find_writers(bodies: dict[str, list[_Called]], functions: set[str]) -> dict[str, str]:
    """Return which of these functions write, themselves or by calling others: name and verb."""
    verbs = ((name, first_write(body.text)) for name, found in bodies.items() for body in found)
    writers = {name: verb for name, verb in verbs if verb is not None}
    for _ in range(_CALLS_DEEP):
        writers |= {
            name: writers[called]
            for name, found in bodies.items()
            for body in found
            for called in calls(body.text, functions)
            if called in writers and name not in writers
        }
    return writers


def _unqualified_further(
    text: str, bodies: dict[str, list[_Called]], names: dict[str, set[str]]
) -> list[tuple[_Called, str]]:
    """Return the functions that a text calls by their schemas, through others, too, and a name each does not find."""
    found: list[tuple[_Called, str]] = []
    seen: set[str] = set()
    to_do = [text]
    while to_do:
        for schema, name in _calls_by_schema(to_do.pop()):
            for body in bodies.get(name, []):
                if body.schema != schema or body.has_path or body.function in seen:
                    continue
                seen.add(body.function)
                if (unknown := first_unqualified(body.text, names)) is not None:
                    found.append((body, unknown))
                else:
                    to_do.append(body.text)
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


def first_write(text: str) -> str | None:
    """Return the verb of the first statement in a function's text, or in a literal that it executes, that writes."""
    before = ""
    literals = []
    words = [match[0] for match in _TOKEN.finditer(text) if not match[0].startswith(("--", "/*"))]
    for word in (word.lower() for word in words):
        if word in _WRITES and before in _BEFORE_STATEMENT:
            return word.upper()
        if word.startswith("'"):
            literals.append(word[1:].lstrip())
        before = word
    if not any(word.lower() == "execute" for word in words):
        return None
    return next((verb.upper() for text in literals for verb in sorted(_WRITES) if text.startswith(verb + " ")), None)


def calls(text: str, functions: set[str]) -> list[str]:
    """Return the names of users' functions that a function's text calls, with or without a schema."""
    return [
        name for word, after in itertools.pairwise(_code(text)) if after == "(" and (name := _bare(word)) in functions
    ]


def _calls_by_schema(text: str) -> list[tuple[str, str]]:
    """Return schema and name of what a function's text calls with both."""
    tokens = _code(text)
    ends = (number for number, token in enumerate(tokens) if token == "(" and tokens[max(number - 2, 0)] == ".")
    return [(_bare(tokens[end - 3]), _bare(tokens[end - 1])) for end in ends if end >= 3]


def _code(text: str) -> list[str]:
    """Return the words and signs of a function's text, without comments and literals."""
    found = (match["name"] or match[0] for match in _TOKEN.finditer(text))
    return [token for token in found if not token.startswith(("--", "/*", "'"))]


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
