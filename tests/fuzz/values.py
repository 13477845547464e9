"""Texts, names and literals that are hard to carry: of every type, and such as imitate frames and psql's own language."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

# What a value must not be able to do: end a frame, end a COPY, or speak to psql. CANARY is put in when a run begins.
FORGERIES = [
    "BEGIN; -- xid 751 commit 0/1A2B3C8 time 2026-11-22 13:07:00.123456+00",
    "COMMIT; -- end 0/1A2B400",
    "COMMIT; -- end FFFFFFFF/FFFFFFFF",
    "BEGIN; -- footer",
    "COMMIT; -- footer",
    "BEGIN; -- large objects",
    "COMMIT; -- large objects",
    "-- rows 1 inserted",
    "-- ddl CREATE TABLE",
    "-- ddl end",
    "-- mark forged",
    "-- warning: forged",
    "-- to 0/1A2B999",
    "-- from 0/1A2B999",
    "COPY public.t FROM stdin;",
    "COPY t (a) TO PROGRAM 'touch CANARY';",
    "\\.",
    "\\! touch CANARY",
    "\\! touch CANARY\n",
    "\\connect postgres",
    "\\i /etc/passwd",
    "\\o |touch CANARY",
    "\\copy t to program 'touch CANARY'",
    "\\set ON_ERROR_STOP off",
    "\\set x `touch CANARY`",
    "\\gexec",
    "\\g |touch CANARY",
    "\\;",
    "\\q",
    "\\if false",
    "\\endif",
    "`touch CANARY`",
    ":name",
    ":'HOST'",
    ':"USER"',
    ":{?x}",
    ":'x",
    "SET LOCAL ROLE postgres;",
    "RESET ROLE;",
    "; DROP TABLE x; --",
    "); -- 1 rows",
    ") AS v (a) WHERE true; -- 2 rows",
    "(1, 'Alice'),",
    "$scribe$",
    "$scribe$;END$scribe$;",
    "$$",
    "$_$",
    "$1",
    "E'",
    "E'\\",
    "U&'\\0027'",
    "'; SELECT 1; '",
    "''",
    '"',
    '""',
    "/* ",
    " */",
    "--",
    "-- ",
    "\\",
    "\\\\",
    "\\N",
    "\\x00",
    "\\n",
    "%s %I %",
    "{}",
    ";",
    ";\n",
    "\n;\n",
]
GAPS = ["\n", "\n", "\r\n", "\r", "\t", " ", "\n ", "\n\t", "\x0b", "\x0c", "\b", "\x01", "\x1a", "\x1b", "\x7f", ""]
WORDS = [
    "",
    "a",
    "x y",
    "NULL",
    "null",
    "value",
    "t",
    "O'Hara",
    'say "hi"',
    "0",
    "-1",
    "end",
    "\\",
    "a\\b",
    "1e5",
    "{1}",
]
# Characters each server encoding has. SQL_ASCII has bytes: text that is not UTF-8 goes through surrogates.
LETTERS = {
    "UTF8": ["ü", "ß", "日本", "😀", "\u0085", "\u2028", "\ufeff", "é\u0301", "\u00a0", "\u202e"],
    "LATIN1": ["ü", "ß", "é", "\u0085", "\u00a0", "ÿ"],
    "EUC_JP": ["日本", "表", "ソ", "能", "ア"],
    "SQL_ASCII": ["ü", "日本", "\udcff", "\udc80\udc81", "\udce3\udc81"],
}


@dataclass
class Types:
    """The user's types by name as SQL writes it: labels of enums, base types of domains, columns of composites."""

    enums: dict[str, list[str]] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    composites: dict[str, list[str]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All of them, in a stable order."""
        return sorted([*self.enums, *self.domains, *self.composites])


class Values:
    """Random but reproducible texts, names and literals. forging: the share of texts that imitate something."""

    def __init__(self, rng: random.Random, encoding: str = "UTF8", forging: float = 0.1, canary: str = "/x") -> None:
        self.random = rng
        self.letters = LETTERS[encoding]
        self.forging = forging
        self.forgeries = [text.replace("CANARY", canary) for text in FORGERIES]
        self.encoding = encoding

    def chance(self, share: float) -> bool:
        """True in that share of calls."""
        return self.random.random() < share

    # --- texts and names ----------------------------------------------------------------------------------------

    def text(self) -> str:
        """Any text the encoding has, now and then one that imitates a frame or a command."""
        one = self.random.choice
        if self.chance(self.forging):
            parts = [
                one([self._forgery, self._gap, self._letters, self._word])() for _ in range(self.random.randint(1, 5))
            ]
            parts.insert(self.random.randint(0, len(parts)), one(["", "\n", "\n", "x\n"]) + self._forgery())
            return "".join(parts)
        return "".join(one([self._word, self._letters, self._gap])() for _ in range(self.random.randint(1, 3)))

    def _forgery(self) -> str:
        return self.random.choice(self.forgeries)

    def _gap(self) -> str:
        return self.random.choice(GAPS)

    def _word(self) -> str:
        return self.random.choice(WORDS)

    def _letters(self) -> str:
        if self.chance(0.15):  # every byte a text may have
            return "".join(chr(self.random.randint(1, 126)) for _ in range(self.random.randint(1, 20)))
        return self.random.choice(self.letters)

    def name(self, stem: str) -> str:
        """A name that ends in stem, unique where stem is; at most 63 bytes."""
        if not self.chance(0.25 + self.forging):
            return stem
        if self.chance(0.4):
            decoration = self._forgery() + self.random.choice(["", "\n"])
        else:
            decoration = self.random.choice(
                ["A ", 'q"', "o'", "ta\tb", "n\nl", "$x$", "a.b", ";", "--", "select ", "%", "\\", ":"]
            )
            decoration += "" if self.encoding == "SQL_ASCII" else self.random.choice(self.letters)
        while len((decoration + stem).encode("utf-8", "surrogateescape")) > 60:
            decoration = decoration[:-1]
        return decoration + stem

    def identifier(self, name: str) -> str:
        """A name as SQL writes it: bare, in quotes, or with escapes."""
        if name.isascii() and name.isidentifier() and name == name.lower() and name not in RESERVED:
            return name
        if self.encoding == "UTF8" and self.chance(0.1):
            escaped = "".join(f"\\{ord(c):04X}" if c in "\\\n\r" else c for c in name)
            return 'U&"' + escaped.replace('"', '""') + '"'
        return '"' + name.replace('"', '""') + '"'

    def literal(self, text: str) -> str:
        """A text as an SQL literal in one of its many forms; right under any standard_conforming_strings."""
        form = self.random.randint(0, 3)
        if form == 0:
            tag = self.random.choice(["$$", "$v$", "$_é$" if self.encoding != "SQL_ASCII" else "$w$", "$scribe$"])
            if tag[:-1] not in text and not text.endswith("$"):
                return f"{tag}{text}{tag}"
        if form == 1 or "\\" in text:
            escapes = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", "'": self.random.choice(["''", "\\047"])}
            raw = self.chance(0.5)
            return "E'" + "".join(escapes.get(c, c) if not raw or c in "\\'" else c for c in text) + "'"
        return "'" + text.replace("'", "''") + "'"

    def plain(self, text: str) -> str:
        """A text as an ordinary literal."""
        return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

    # --- values -------------------------------------------------------------------------------------------------

    def value(self, kind: str, types: Types, depth: int = 0) -> str:
        """An SQL expression of that type (as format_type() names it)."""
        if kind.endswith("[]"):
            return self._array(kind, types, depth)
        base = kind.split("(", maxsplit=1)[0]
        if base in types.enums:
            return self.literal(self.random.choice(types.enums[base])) + f"::{base}"
        if base in types.domains:
            return self.value(types.domains[base], types, depth + 1)
        if base in types.composites:
            if depth > 2:
                return "NULL"
            fields = ["NULL" if self.chance(0.2) else self.value(t, types, depth + 1) for t in types.composites[base]]
            return f"ROW({', '.join(fields)})::{base}"
        if base in ("text", "character varying", "character", "citext", "public.citext", "name"):
            limit = int(kind.split("(")[1][:-1]) if "(" in kind else 60 if base == "name" else None
            text = self.text() if base != "text" or not self.chance(0.04) else self._long()
            if limit is not None:
                text = text[: limit // 4 if base == "name" else limit]
            return self.literal(text)
        choices = LITERALS.get(base)
        if choices is None:
            return "NULL"
        chosen = self.random.choice(choices)
        return chosen(self) if callable(chosen) else f"'{chosen}'::{kind}"

    def _long(self) -> str:
        """Long enough to be kept out of line."""
        return "".join(self.random.choice("abcdefghij\\'\n") for _ in range(self.random.choice([2500, 9000])))

    def _array(self, kind: str, types: Types, depth: int) -> str:
        element = kind[:-2]
        if self.chance(0.15):
            return f"'{{}}'::{kind}"
        items = ["NULL" if self.chance(0.2) else self.value(element, types, depth + 1) for _ in range(3)]
        if element in ("integer", "bigint") and self.chance(0.4):
            return f"'[-2:0]={{{self.random.randint(-9, 9)},NULL,3}}'::{kind}"
        if self.chance(0.2):
            return f"ARRAY[[{items[0]}],[{items[1]}]]::{kind}"
        return f"ARRAY[{', '.join(items)}]::{kind}"

    def json(self) -> str:
        """A JSON text."""
        inner = self.text().encode("utf-8", "replace").decode("utf-8", "replace").replace("\x00", "")
        text = json.dumps(
            {"k": inner if self.encoding == "UTF8" else "x", "n": [1, None, 1.5e3]}, ensure_ascii=self.chance(0.5)
        )
        return self.plain(text if self.encoding == "UTF8" else text.encode("ascii", "ignore").decode())

    def number(self) -> str:
        """A numeric of any scale."""
        return f"'{self.random.choice(['', '-'])}{self.random.randint(0, 10 ** self.random.randint(1, 25))}.{'0' * self.random.randint(0, 5)}1'"


RESERVED = {"select", "table", "end", "order", "user", "default", "check", "all", "null", "column"}
LITERALS: dict[str, list[str | Callable[[Values], str]]] = {
    "smallint": ["-32768", "32767", "0", lambda v: str(v.random.randint(-99, 99))],
    "integer": [lambda v: str(v.random.randint(-9, 300)), lambda v: str(v.random.randint(1, 2000)), "-2147483648"],
    "bigint": [
        lambda v: str(v.random.randint(-999, 10**10)),
        lambda v: str(v.random.randint(1, 3000)),
        "-9223372036854775808",
    ],
    "numeric": [
        lambda v: str(v.random.randint(-99, 999)),
        "1.50",
        "0.000",
        "-0.1",
        "NaN",
        "Infinity",
        lambda v: v.number(),
    ],
    "double precision": [
        "NaN",
        "Infinity",
        "-Infinity",
        "-0",
        "4.9e-324",
        "1.7976931348623157e308",
        "0.1",
        lambda v: repr(v.random.uniform(-1e9, 1e9)),
    ],
    "real": ["NaN", "-0", "1.17549435e-38", "3.4028235e38", "0.1", "16777217"],
    "money": ["-12.34", "92233720368547758.07", "0"],
    "boolean": ["true", "false"],
    "bytea": [
        lambda v: "'\\x" + v.random.randbytes(v.random.randint(0, 30)).hex() + "'::bytea",
        lambda v: "'\\x5c2e0a5c2127'::bytea",
        lambda v: f"'\\x{v.random.randbytes(3000).hex()}'::bytea",
    ],
    "date": ["infinity", "-infinity", "4713-11-24 BC", "5874897-12-31", "2024-02-29", "0044-03-15 BC"],
    "time without time zone": ["24:00:00", "00:00:00", "12:34:56.123456"],
    "time with time zone": ["12:00:00.1+05:30", "00:00+15:59", "24:00:00-15:59"],
    "timestamp without time zone": [
        "infinity",
        "294276-12-31 23:59:59.999999",
        "0044-03-15 12:00:00 BC",
        "2024-03-31 02:30:00",
    ],
    "timestamp with time zone": [
        "-infinity",
        "4713-11-24 00:00:00+00 BC",
        "2024-03-31 02:30:00+02",
        "1883-01-01 00:00:00 Europe/Amsterdam",
    ],
    "interval": ["1 year 2 mons -3 days 04:05:06.789", "-178000000 years", "1 day -00:00:00.000001", "0"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"],
    "inet": ["192.168.0.1/24", "::1", "::ffff:1.2.3.4/128"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit": [lambda v: "B'10101'"],
    "bit varying": [
        lambda v: "B''",
        lambda v: "B'1'",
        lambda v: "B'" + "".join(v.random.choice("01") for _ in range(70)) + "'",
    ],
    "json": [lambda v: v.json(), '{"a" : 1.00, "a":2}', "null"],
    "jsonb": [lambda v: v.json(), "[1.00, null]", "{}"],
    "xml": ['<?xml version="1.0"?><a>&lt;b&gt;</a>', "text only", "", '<x y="1"/><z/>'],
    "point": ["(1.5,-0)", "(NaN,Infinity)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(0,0),(1,1)]"],
    "box": ["((1,1),(0,0))"],
    "path": ["[(0,0),(1,1),(2,0)]", "((0,0))"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(1,1),2.5>"],
    "tsvector": ["a:1A,2B ''b c'':3", "", lambda v: f"to_tsvector('simple', {v.plain(v.text())})"],
    "tsquery": ["a & !(b | c:*)", ""],
    "int4range": ["[1,5)", "empty", "(,3]"],
    "numrange": ["(,1.50]", "empty"],
    "tstzrange": ["(,2024-01-01 00:00:00+00)", "empty", '["2024-01-01 00:00:00+00",infinity]'],
    "int4multirange": ["{[1,3),[5,9)}", "{}"],
    "pg_lsn": ["16/B374D848", "0/0"],
    "oid": ["4294967295", "0", "17"],
    '"char"': ["x", "", "\\001"],
    "regtype": ["integer[]", "text"],
    "jsonpath": ['$."a"[*] ? (@ > 1)', "$"],
    "public.hstore": [
        'a=>NULL, "q\\"q"=>"v"',
        "",
        lambda v: f"public.hstore({v.plain(v.text())}, {v.plain(v.text())})",
    ],
    "xid8": ["18446744073709551615", "3"],
    "pg_snapshot": ["10:20:10,14,15"],
}
# Types for columns; a type with a length is a type of its own.
COLUMN_TYPES = [
    "integer",
    "integer",
    "integer",
    "bigint",
    "text",
    "text",
    "text",
    "text",
    *[kind for kind in LITERALS if kind not in ("bit", "public.hstore")],
    "bit(5)",
    "numeric(10,3)",
    "character varying(12)",
    "character(6)",
    "name",
    "text[]",
    "integer[]",
    "numeric[]",
    "jsonb[]",
]
