"""Tables as pgoutput describes them, and their values as SQL text.

Everything is bytes in the database's encoding. Names are read as Latin-1, which keeps any byte as it is; no server
encoding uses an ASCII byte within a longer character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scribe.common.dialect import ALL_CHECKS, IF_SUPERUSER
from scribe.decoders.pgmessages import MISSING, Relation, Row, Value
from scribe.decoders.rows.builtins import TYPES, WORDS

CARRIER = "latin-1"
FIRST_NORMAL_OID = 16384
INTEGER, BOOLEAN, OTHER = range(3)

_CLASSES = {"int2": INTEGER, "int4": INTEGER, "int8": INTEGER, "oid": INTEGER, "bool": BOOLEAN}
# Types whose input functions refuse every value.
_UNREADABLE = {"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list"}
_UNREADABLE |= {"pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}
# Types of which equal text may have other bytes: a NaN has many bit patterns.
_FLOATS = {"float4", "float8", "point", "lseg", "path", "box", "polygon", "line", "circle"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_ESCAPED = re.compile(rb"[\x00-\x1f\x7f\\]")
_SPECIAL = re.compile(rb"[\x00-\x1f\x7f\\']")
_LETTERS = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 92: b"\\\\"}
_RESERVED = (b"--", b"BEGIN;", b"COMMIT;", b"COPY ")

_IN_LITERAL = {bytes([code]): _LETTERS.get(code, b"\\x%02X" % code) for code in [*range(32), 92, 127]}
_IN_COPY = _IN_LITERAL | {b"\v": b"\\v"}


def quote_name(name: str) -> bytes:
    """Return a name as quote_identifier() does it, or as U&"..." to keep it on one line."""
    if _PLAIN.match(name) and name not in WORDS:
        return name.encode(CARRIER)
    quoted = name.replace('"', '""')
    if _CONTROL.search(name):
        quoted = re.sub(r"[\x00-\x1f\x7f\\]", lambda m: "\\\\" if m[0] == "\\" else f"\\{ord(m[0]):04X}", quoted)
        return b'U&"' + quoted.encode(CARRIER) + b'"'
    return b'"' + quoted.encode(CARRIER) + b'"'


def quote_qualified(schema: str, name: str) -> bytes:
    """Return schema.name."""
    return quote_name(schema) + b"." + quote_name(name)


def quote_value(value: bytes) -> bytes:
    """Return a literal: '...', or E'...' where a backslash or a control character asks for it."""
    if _SPECIAL.search(value) is None:
        return b"'" + value + b"'"
    quoted = value.replace(b"'", b"''")
    if _ESCAPED.search(quoted) is None:
        return b"'" + quoted + b"'"
    return b"E'" + _ESCAPED.sub(lambda m: _IN_LITERAL[m[0]], quoted) + b"'"


def switch_checks(schema: str, name: str, *, on: bool) -> bytes:
    """Return the line that lets a table's CHECKs be looked at, or not."""
    body = b"BEGIN " + IF_SUPERUSER.encode() + b" UPDATE pg_catalog.pg_class AS c SET relchecks = "
    body += ALL_CHECKS.encode() if on else b"0"
    body += b" FROM pg_catalog.pg_namespace AS n WHERE n.oid = c.relnamespace AND n.nspname = "
    body += quote_value(schema.encode(CARRIER)) + b" AND c.relname = " + quote_value(name.encode(CARRIER))
    body += b"; END IF; END"
    return b"DO LANGUAGE plpgsql " + quote_value(body) + b";\n"


def copy_line(row: Row) -> bytes:
    """Return one line of COPY data that does not look like a frame."""
    if None not in row:
        line = b"\0".join(row)  # type: ignore[arg-type]  # an inserted row lacks no value
        if _UNSAFE.search(line) is None:
            line = line.replace(b"\0", b"\t")
            return b"\\" + line + b"\n" if line.startswith(_RESERVED) else line + b"\n"
    line = b"\t".join([_copy_value(value) for value in row])
    return b"\\" + line + b"\n" if line.startswith(_RESERVED) else line + b"\n"


_UNSAFE = re.compile(rb"[\x01-\x1f\x7f\\]")


def _copy_value(value: Value) -> bytes:
    if value is None:
        return b"\\N"
    assert isinstance(value, bytes)
    return value if _ESCAPED.search(value) is None else _ESCAPED.sub(lambda m: _IN_COPY[m[0]], value)


@dataclass(frozen=True)
class Key:
    """A column of the replica identity: how it is compared. equals: " = " or " OPERATOR(schema.=) "; None: unknown.

    cast: the literal's; base: the column's, without which equals does not take it.
    """

    index: int
    equals: bytes | None
    cast: bytes
    collate: bytes
    base: bytes = b""


class Table:
    """A relation and what is known of it beyond its Relation message, ready for writing its rows."""

    def __init__(self, relation: Relation, types: Mapping[int, tuple[str, str]], facts: Mapping[str, Any]) -> None:
        self.relation = relation
        self.relid = relation.relid
        self.facts = facts
        self.own_name = quote_qualified(relation.schema, relation.name)
        # the table through which rows are written and found that lie in another partition in a copy
        self.route: Mapping[str, Any] | None = facts.get("h")
        self.name = quote_qualified(*self.route["n"]) if self.route else self.own_name
        self.partitioned = bool(facts.get("p"))
        self.only = b"ONLY " if facts.get("s", True) and not self.route else b""
        self.alone = b"" if self.route else b"ONLY "
        self.place = b"tableoid, ctid" if self.route else b"ctid"
        self.full = relation.identity == "f"
        columns = relation.columns
        self.columns = [quote_name(column.name) for column in columns]
        named = [_type_of(column.type, types) for column in columns]
        self.casts = [b"::" + quote_type(*name) for name in named]  # of a domain to its base type
        barred = facts.get("d", {})
        self.young = {i: b"::" + quote_type(*barred[c.name]) for i, c in enumerate(columns) if c.name in barred}
        barring = facts.get("b", {})
        self.barred_nulls = {
            i: b"(SELECT NULL::" + quote_type(*barring[c.name]) + b" WHERE false)"
            for i, c in enumerate(columns)
            if c.name in barring
        }
        self.classes = [_CLASSES.get(name, OTHER) if schema == "pg_catalog" else OTHER for schema, name in named]
        self.clean = {i for i, column in enumerate(columns) if _has_clean_image(column.type)}
        self.lost = [i for i, name in enumerate(named) if name[0] == "pg_catalog" and name[1] in _UNREADABLE]
        made = set(facts.get("g", ()))  # generated; published from PostgreSQL 18 on
        self.generated = {i for i, column in enumerate(columns) if column.name in made}
        self.live = [i for i in range(len(columns)) if i not in self.generated]
        self.stored = [i for i in self.live if i not in self.lost]
        self.left_casts = [c if column.type >= FIRST_NORMAL_OID else b"" for c, column in zip(self.casts, columns)]  # noqa: B905
        always = set(facts["a"]) if "a" in facts else None
        self.always = [i for i, column in enumerate(columns) if always is not None and column.name in always]
        self._find_identity(facts)
        self._make_heads(overriding=always is None or bool(self.always))

    def _find_identity(self, facts: Mapping[str, Any]) -> None:
        columns = self.relation.columns
        place = {column.name: i for i, column in enumerate(columns)}
        known = facts.get("k") or []
        self.keys: list[Key] = []
        if not self.full and (self.route is None or self.route["k"]):
            flagged = {column.name for column in columns if column.key}
            names = {entry[0] for entry in known}
            if flagged < names:
                pass  # part of the key is generated, and not sent before PostgreSQL 18
            elif names == flagged:
                for name, equals, cast, collate, *domain in known:
                    i = place[name]
                    operator, collation = equals.encode(CARRIER), collate.encode(CARRIER)
                    base = self.casts[i] if domain == [True] else b""
                    self.keys.append(Key(i, operator, self.casts[i] if cast else b"", collation, base))
            else:
                for i, column in enumerate(columns):
                    if column.key:
                        self.keys.append(Key(i, b" = " if column.type < FIRST_NORMAL_OID else None, b"", b""))
        self.is_key = [any(key.index == i for key in self.keys) for i in range(len(columns))]
        self.by_image = any(key.equals is None for key in self.keys)  # nothing is known of how the key is compared
        leads = facts.get("l", {}) if self.full else {}
        self.leads = [
            (place[name], self.casts[place[name]] if cast else b"") for name, cast in leads.items() if name in place
        ]
        alone = bool(facts.get("u", True)) or bool(self.young)  # no UPDATE may wait for others
        self.set_delete = bool(self.keys) and not self.by_image and not any(key.collate for key in self.keys)
        self.set_update = self.set_delete and not alone
        self.image_delete = self.full and not self.lost and bool(self.stored)
        self.image_update = self.image_delete and not alone

    def _make_heads(self, overriding: bool) -> None:
        names = b", ".join([self.columns[i] for i in self.live])
        self.insert_head = b"INSERT INTO " + self.name + b" (" + names + b") "
        self.insert_head += b"OVERRIDING SYSTEM VALUE VALUES" if overriding else b"VALUES"
        self.insert_empty = b"INSERT INTO " + self.name + b" DEFAULT VALUES;\n"
        self.copy_head = b"COPY " + self.name + b" (" + names + b") FROM stdin;\n"
        quiet, loud = b"", b""
        for name, partitioned, what, trigger, mode in self._acting():
            if what == "CHECK":
                quiet += switch_checks(*name, on=False)
                loud += switch_checks(*name, on=True)
                continue
            only = b"ONLY " if partitioned else b""  # a partition's copy of a trigger may be enabled otherwise
            head = b"ALTER TABLE " + only + quote_qualified(*name)
            tail = what.encode() + b" " + quote_name(trigger) + b";\n"
            quiet += head + b" DISABLE " + tail
            loud += head + b" ENABLE " + mode.encode() + b" " + tail
        self.quiet, self.loud = quiet, loud

    def _acting(self) -> Iterator[tuple[tuple[str, str], bool, str, str, str]]:
        """Yield what acts during replay: schema and table, whether it is partitioned, kind, name, mode."""
        if self.route is None:
            for what, name, mode in self.facts.get("q", []):
                yield (self.relation.schema, self.relation.name), self.partitioned, what, name, mode
            return
        for schema, table, partitioned, what, name, mode in self.route["q"]:
            yield (schema, table), partitioned, what, name, mode

    def literal(self, index: int, value: Value) -> bytes:
        """Return a value of the column at index as SQL."""
        if value is None:
            return b"NULL"
        assert isinstance(value, bytes)
        kind = self.classes[index]
        if kind == INTEGER and value[:1] != b"-":
            return value
        if kind == BOOLEAN:
            return b"true" if value == b"t" else b"false"
        return quote_value(value)

    def new_literal(self, index: int, value: Value) -> bytes:
        """Return a value that the column at index is to get, as SQL.

        Its domain may be NOT NULL: a COPY of other columns lets a NULL in all the same, and so does a subquery without
        a row.
        """
        return self.barred_nulls.get(index, b"NULL") if value is None else self.literal(index, value)

    def selected(self, index: int, value: Value) -> bytes:
        """Return a value that the column at index is to get, with its type, as what an INSERT selects."""
        barred = value is None and index in self.barred_nulls
        return self.new_literal(index, value) + (b"" if barred else self.casts[index])

    def has_barred_null(self, row: Row, columns: Iterable[int]) -> bool:
        """Whether a new row has a NULL in one of the columns that only a statement of its own gets past its domain."""
        return bool(self.barred_nulls) and any(i in self.barred_nulls and row[i] is None for i in columns)

    def assignment(self, index: int, value: Value) -> bytes:
        """Return "column = value" for SET; a value that its domain bars by now may stand there already."""
        column, literal = self.columns[index], self.new_literal(index, value)
        if index in self.young:
            same = self._same([index], {index: value})
            literal = b"CASE WHEN " + same + b" THEN " + column + b" ELSE " + literal + self.young[index] + b" END"
        return column + b" = " + literal

    def values(self, row: Row) -> bytes:
        """Return a row as "(1, 'a')"."""
        return b"(" + b", ".join([self.new_literal(i, row[i]) for i in self.live]) + b")"

    def live_values(self, row: Row) -> Row:
        """Return the values that are written of a row."""
        return [row[i] for i in self.live] if self.generated else row

    def key_where(self, row: Row) -> bytes:
        """Return " WHERE id = 1 AND ..." for the row with the key of row."""
        if self.by_image:
            return self._where(row, [key.index for key in self.keys])
        parts = []
        for key in self.keys:
            assert key.equals is not None
            literal = self.literal(key.index, row[key.index])
            parts.append(self.columns[key.index] + key.base + key.collate + key.equals + literal + key.cast)
        return b" WHERE " + b" AND ".join(parts)

    def image_where(self, row: Row) -> bytes:
        """Return a WHERE for exactly one row with the image of row."""
        return self._where(row, self.stored)

    def _where(self, row: Row, indexes: list[int]) -> bytes:
        place = b"(" + self.place + b")" if self.route else self.place
        text = b" WHERE " + place + b" = (SELECT " + self.place + b" FROM " + self.alone + self.name
        if indexes:
            text += b" WHERE " + self._same(indexes, row)
        for i, cast in self.leads:
            if row[i] is not None:
                text += b" AND " + self.columns[i] + b" = " + self.literal(i, row[i]) + cast
        return text + b" LIMIT 1)"

    def _same(self, indexes: list[int], row: Row | Mapping[int, Value]) -> bytes:
        """Return a condition that holds if the columns have row's values.

        They are compared by their bytes if equal text has equal bytes, else by their text, which is what a copy has in
        common with its source.
        """

        def rows(chosen: list[int]) -> tuple[bytes, bytes]:
            left = b", ".join([self.columns[i] + self.left_casts[i] for i in chosen])
            right = b", ".join([self.literal(i, row[i]) + self.casts[i] for i in chosen])
            return b"ROW(" + left + b")", b"ROW(" + right + b")"

        conditions = []
        if clean := [i for i in indexes if i in self.clean]:
            conditions.append(b"%s::record *= %s" % rows(clean))
        if others := [i for i in indexes if i not in self.clean]:
            conditions.append(b'%s::text COLLATE "C" = (SELECT %s::text)' % rows(others))
        return b" AND ".join(conditions)

    def where(self, row: Row) -> bytes:
        """Return the WHERE for the old row, or the row with the old key."""
        return self.image_where(row) if self.full else self.key_where(row)

    def image(self, row: Row) -> bytes:
        """Return what ROW(...)::text gives for the row."""
        return b"(" + b",".join([_field(row[i]) for i in self.stored]) + b")"


_QUOTED_FIELD = re.compile(rb'["\\(),\t\n\v\f\r ]')


def _field(value: Value) -> bytes:
    if value is None:
        return b""
    assert value is not MISSING and isinstance(value, bytes)
    if value and _QUOTED_FIELD.search(value) is None:
        return value
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'""') + b'"'


def _has_clean_image(oid: int) -> bool:
    """Whether values of a type that have the same text have the same bytes; of types not built in nobody knows.

    A composite value keeps the attributes that its type had when it was written, and what an extension's type puts
    between its fields is its own affair.
    """
    name = TYPES.get(oid, "record")
    return oid < FIRST_NORMAL_OID and name.removeprefix("_") not in _FLOATS | {"record"}


def _type_of(oid: int, types: Mapping[int, tuple[str, str]]) -> tuple[str, str]:
    return ("pg_catalog", TYPES[oid]) if oid in TYPES else types.get(oid, ("pg_catalog", "text"))


def quote_type(schema: str, name: str) -> bytes:
    """Return a type's own name with its schema."""
    if schema == "pg_catalog" and name != "char":  # behind a dot every keyword is a name
        return b"pg_catalog." + name.encode(CARRIER)
    return quote_qualified(schema, name)
