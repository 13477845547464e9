"""The statements of a transaction's body, read back into changes of rows: the forms of docs/format.md, section 3.

An exact parser of that dialect and of nothing else: what it does not know is an error, never a guess.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from scribe.archive.tokens import (
    CAST,
    LITERAL,
    NAME,
    QUALIFIED,
    pieces_number,
    read_copy_value,
    read_image,
    read_literal,
    row_pattern,
    shorten,
    split_name,
)

INSERT, UPDATE, DELETE, TRUNCATE = "insert", "update", "delete", "truncate"
KINDS = (INSERT, UPDATE, DELETE, TRUNCATE)


@dataclass(frozen=True, slots=True)
class Table:
    """A table's name."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(slots=True)
class Change:
    """One row that was changed, or one table that was truncated.

    key: the columns by which the row is found, with their values; of an INSERT none; values: the columns that get a
    value. Values are text as the type writes it (booleans t and f), None for NULL; a column of an UPDATE that is in
    neither did not change. whole: key is the whole old row (REPLICA IDENTITY FULL), which may be one of several equal
    ones. resent: a row that pg_scribe sent again because a command had rewritten the table; nobody inserted it.
    options: of a TRUNCATE. offset: where its statement begins in the segment's SQL, in bytes.
    """

    kind: str
    table: Table
    key: dict[str, str | None] = field(default_factory=dict)
    values: dict[str, str | None] = field(default_factory=dict)
    whole: bool = False
    resent: bool = False
    options: str = ""
    offset: int = 0


@dataclass(slots=True)
class Count:
    """Several changes of which only the number was asked for."""

    kind: str
    table: Table
    rows: int
    resent: bool = False


@dataclass(slots=True)
class Emptied:
    """A table's rows go because a command rewrites it; they come back as rows that are resent."""

    table: Table
    offset: int = 0


class NotDialectError(Exception):
    """A statement is in no form that segments have. at: where in the text that was given."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at


_TABLE = rb"(" + NAME + rb")\.(" + NAME + rb")"
_NAMED = re.compile(_TABLE)
_NAMES = NAME + rb"(?:, " + NAME + rb")*"
_END = re.compile(rb"\n(?![()])")  # of a statement; a line that begins with ( or ) continues it
_ROWS = re.compile(rb"; -- (\d+) rows\Z")
_KIND = re.compile(
    rb"INSERT |UPDATE |DELETE |TRUNCATE |WITH d |WITH v |ALTER TABLE |(?:CREATE TEMP|DROP) TABLE pg_temp\.|DO "
)
_INSERT = re.compile(
    rb"INSERT INTO " + _TABLE + rb"(?: \((" + _NAMES + rb")\) (?:OVERRIDING SYSTEM VALUE )?VALUES(?=[ \n])"
    rb"| DEFAULT VALUES;\n)"
)  # fmt: skip
_COPY = re.compile(rb"COPY " + _TABLE + rb" \((" + _NAMES + rb")\) FROM stdin;\n")
_UPDATE = re.compile(rb"UPDATE (?:ONLY )?" + _TABLE + rb"( AS t)? SET ")
_DELETE = re.compile(rb"DELETE FROM (ONLY )?" + _TABLE + rb"( AS t USING \(VALUES\n)?")
_TRUNCATE = re.compile(rb"TRUNCATE((?: (?:ONLY )?" + QUALIFIED + rb",?)+?)((?: RESTART IDENTITY)?(?: CASCADE)?);\n")
_TABLES = re.compile(rb" (?:ONLY )?" + _TABLE)
_WORDS = re.compile(NAME)
_ALTER = re.compile(
    rb"ALTER TABLE (?:ONLY )?"
    + QUALIFIED
    + rb" (?:DISABLE|ENABLE (?:ALWAYS|REPLICA)) (?:TRIGGER|RULE) "
    + NAME
    + rb";\n"
)
_CHECKS = re.compile(rb"DO LANGUAGE plpgsql (" + LITERAL + rb");\n")
_TEMP = re.compile(
    rb"(?:CREATE TEMP TABLE pg_temp\.scribe_piece \(value int, n int, t text, b bytea\)"
    rb"|DROP TABLE pg_temp\.scribe_piece);\n"
)
_ASSIGNED = re.compile(rb"(" + NAME + rb") = (?:(" + LITERAL + rb")" + CAST + rb"*|CASE WHEN )")
_ELSE = re.compile(rb" THEN " + NAME + rb" ELSE (" + LITERAL + rb")" + CAST + rb"+ END")
_SET_FROM = re.compile(rb"(" + NAME + rb") = v\.(" + NAME + rb")(?:, | FROM \(VALUES\n)")
_OPERATOR = rb"OPERATOR\(" + NAME + rb"\.[-+*/<>=~!@#%^&|`?]+\)"
_EQUALS = CAST + rb"?(?: COLLATE " + QUALIFIED + rb")? (?:=|" + _OPERATOR + rb") "
_COMPARED = re.compile(rb"(" + NAME + rb")(?:" + _EQUALS + rb"(" + LITERAL + rb")" + CAST + rb"*| IS NULL)")
_LISTED = re.compile(rb"(" + NAME + rb")" + CAST + rb"? IN \(")
_ITEM = re.compile(rb"(" + LITERAL + rb")" + CAST + rb"*(, |\);)")
_IMAGE = re.compile(
    rb" WHERE (?:ctid = \(SELECT ctid FROM ONLY " + QUALIFIED
    + rb"|\(tableoid, ctid\) = \(SELECT tableoid, ctid FROM " + QUALIFIED + rb")"
)  # fmt: skip
_SIDES = re.compile(
    rb"ROW\(("
    + NAME
    + CAST
    + rb"*(?:, "
    + NAME
    + CAST
    + rb"*)*)\)"
    + rb'::(?:record \*= |text COLLATE "C" = \(SELECT )ROW\('
)
_FIELD = re.compile(rb"(" + LITERAL + rb")" + CAST + rb"*(, |\))")
_COLUMN = re.compile(rb"(" + NAME + rb")" + CAST + rb"*")
_VALUES_END = b"\n) AS v ("
_PAIR = rb"t\." + NAME + CAST + rb"? (?:=|" + _OPERATOR + rb") v\." + NAME
_JOINED = re.compile(
    rb"\n\) AS v \((" + _NAMES + rb")\) WHERE " + _PAIR + rb"(?: AND " + _PAIR + rb")*(?=; -- )"
)  # fmt: skip
_REPLACING = re.compile(
    rb" RETURNING \*\) INSERT INTO " + QUALIFIED + rb" \((" + _NAMES + rb")\) OVERRIDING SYSTEM VALUE SELECT "
)
_SELECTED = re.compile(rb"(?:d\." + NAME + rb"|(" + LITERAL + rb")" + CAST + rb"*)(, | FROM d;\n)")
_IMAGES = re.compile(rb"WITH v \(image((?:, c\d+)*)\) AS \(VALUES\n")
_PLACE = rb"(?:ctid|tableoid, ctid)"
_NUMBERED = re.compile(
    rb"\n\), o AS \(SELECT \*, row_number\(\) OVER \(PARTITION BY image\) AS n FROM v\), r AS \(SELECT " + _PLACE
    + rb", image, row_number\(\) OVER \(PARTITION BY image\) AS n FROM \(SELECT " + _PLACE + rb", ROW\((" + _NAMES
    + rb')\)::text COLLATE "C" AS image FROM (?:ONLY )?' + _TABLE + rb"\) AS s WHERE image IN \(SELECT image FROM v\)\)"
    + rb" (?:DELETE FROM (?:ONLY )?" + QUALIFIED + rb" AS t USING|UPDATE (?:ONLY )?" + QUALIFIED + rb" AS t SET ("
    + NAME + rb" = o\.c\d+(?:, " + NAME + rb" = o\.c\d+)*) FROM) r JOIN o USING \(image, n\) WHERE t\.ctid = r\.ctid"
    + rb"(?: AND t\.tableoid = r\.tableoid)?(?=; -- )"
)  # fmt: skip
_GIVEN = re.compile(rb"(" + NAME + rb") = o\.c\d+")

Row = dict[str, str | None]
Found = Change | Count | Emptied


class Body:
    """Reads the statements and COPY blocks of transactions. wanted: whether a table's rows are to be told one by one.

    codec: Python's name of the encoding. A table that is not wanted is counted, a statement at a time.
    """

    def __init__(self, codec: str, wanted: Callable[[Table], bool] = lambda table: True) -> None:
        self._codec = codec
        self._wanted = functools.cache(wanted)
        self._names = functools.lru_cache(1024)(self._read_names)
        self._tables = functools.lru_cache(1024)(self._read_table)
        self.resent: set[Table] = set()  # tables of which rows are being sent again
        self._pieces: dict[int, list[bytes]] = {}
        self._taken: list[bytes] = []
        self._text = b""
        self._at = 0
        self._base = 0  # of the text, in the segment
        self._start = 0  # of the statement that is read
        self._copied: _Copied | None = None

    def statements(self, text: bytes, base: int) -> Iterator[Found]:
        """Yield the changes of whole statements. base: where the text begins. Raises NotDialectError."""
        self._base = base
        at = 0
        while at < len(text):
            end = _END.search(text, at)
            stop = len(text) if end is None else end.end()
            self._start = base + at
            try:
                yield from self._statement(text, at, stop)
            except NotDialectError:
                raise NotDialectError(at) from None
            at = stop

    def _statement(self, text: bytes, at: int, stop: int) -> Iterator[Found]:
        kind = _KIND.match(text, at)
        if kind is None:
            raise NotDialectError(at)
        self._text, self._taken = shorten(text[at:stop])
        self._at = 0
        return _READERS[kind[0]](self)

    # --- names and values ---------------------------------------------------------------------------------------

    def _read_names(self, words: bytes) -> tuple[str, ...]:
        return tuple(split_name(word.decode(self._codec, "surrogateescape")) for word in _WORDS.findall(words))

    def _read_table(self, schema: bytes, name: bytes) -> Table:
        return Table(*self._read_names(schema), *self._read_names(name))

    def table_of(self, qualified: bytes) -> Table:
        """Return the table that a qualified name of the dialect is of. Raises NotDialectError."""
        match = _NAMED.fullmatch(qualified)
        if match is None:
            raise NotDialectError(0)
        return self._tables(match[1], match[2])

    def _value(self, token: bytes) -> str | None:
        number = pieces_number(token)
        value = read_literal(token, self._taken) if number is None else b"".join(self._pieces[number])
        return None if value is None else value.decode(self._codec, "surrogateescape")

    def _values(self, tokens: tuple[bytes, ...]) -> list[str | None]:
        return [self._value(token) for token in tokens]

    # --- the text in work ---------------------------------------------------------------------------------------

    def _take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise NotDialectError(self._at)
        self._at = match.end()
        return match

    def _skip(self, word: bytes) -> bool:
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        return True

    def _need(self, word: bytes) -> None:
        if not self._skip(word):
            raise NotDialectError(self._at)

    def _end(self, rows: int) -> None:
        """Take the end of a statement that acts on so many rows."""
        self._need(b";\n" if rows == 1 else b"; -- %d rows\n" % rows)

    def _counted(self) -> int:
        """Return how many rows the statement in work acts on, as its end tells."""
        counted = _ROWS.search(self._text, max(self._at, len(self._text) - 40), len(self._text) - 1)
        return int(counted[1]) if counted else 1

    def _count(self, kind: str, table: Table) -> Count:
        return Count(kind, table, self._counted(), table in self.resent)

    # --- INSERT and COPY ----------------------------------------------------------------------------------------

    def _insert(self) -> Iterator[Found]:
        head = self._take(_INSERT)
        table = self._tables(head[1], head[2])
        if not self._wanted(table):
            yield self._count(INSERT, table)
            return
        resent = table in self.resent
        if head[3] is None:
            yield Change(INSERT, table, resent=resent, offset=self._start)
            return
        columns = self._names(head[3])
        rows = 0
        self._at += 1
        for tokens in self._rows(len(columns)):
            rows += 1
            values = dict(zip(columns, self._values(tokens), strict=True))
            yield Change(INSERT, table, values=values, resent=resent, offset=self._start)
        self._end(rows)

    def _rows(self, columns: int) -> Iterator[tuple[bytes, ...]]:
        """Yield the literals of rows of VALUES."""
        pattern = row_pattern(columns)
        while True:
            yield self._take(pattern).groups()
            if not self._skip(b",\n"):
                return

    def copy(self, head: bytes, base: int) -> None:
        """Take the first line of a COPY block, which begins at base. Raises NotDialectError."""
        match = _COPY.fullmatch(head)
        if match is None:
            raise NotDialectError(0)
        table = self._tables(match[1], match[2])
        pieces = table == _PIECES
        wanted = pieces or self._wanted(table)
        self._copied = _Copied(table, self._names(match[3]), wanted, pieces, table in self.resent, base)

    def copied(self, data: bytes) -> Iterator[Found]:
        """Yield the rows of some COPY data; what is behind the last newline waits for the rest."""
        copied = self._copied
        assert copied is not None
        if not copied.wanted:
            copied.rows += data.count(b"\n")
            return
        lines = data.split(b"\n")
        if copied.torn:
            lines[0] = b"".join([*copied.torn, lines[0]]) if len(lines) > 1 else lines[0]
            if len(lines) > 1:
                copied.torn.clear()
        if lines[-1]:
            copied.torn.append(lines[-1])
        for line in lines[:-1]:
            values = [read_copy_value(text) for text in line.split(b"\t")]
            if len(values) != len(copied.columns):
                raise NotDialectError(0)
            if copied.pieces:
                self._piece(values)
                continue
            texts = [None if v is None else v.decode(self._codec, "surrogateescape") for v in values]
            row = dict(zip(copied.columns, texts, strict=True))
            yield Change(INSERT, copied.table, values=row, resent=copied.resent, offset=copied.base)

    def end_copy(self) -> Iterator[Count]:
        """Take the end of a COPY block."""
        copied, self._copied = self._copied, None
        assert copied is not None
        if copied.torn:
            raise NotDialectError(0)
        if not copied.wanted and copied.rows:
            yield Count(INSERT, copied.table, copied.rows, copied.resent)

    def _piece(self, values: list[bytes | None]) -> None:
        """A part of a large value: bytes or text; those of bytea are written \\x... each."""
        number, _, text, binary = values
        parts = self._pieces.setdefault(int(number or 0), [])
        if text is None:
            text = binary or b""
            text = text.removeprefix(b"\\x") if parts else text
        parts.append(text)

    def _temporary(self) -> Iterator[Found]:
        self._take(_TEMP)
        self._pieces.clear()
        return iter(())

    # --- UPDATE -------------------------------------------------------------------------------------------------

    def _update(self) -> Iterator[Found]:
        head = self._take(_UPDATE)
        table = self._tables(head[1], head[2])
        if not self._wanted(table):
            yield self._count(UPDATE, table)
        elif head[3]:
            yield from self._update_set(table)
        else:
            values = self._assignments()
            key, whole = self._where()
            self._end(1)
            yield Change(UPDATE, table, key, values, whole, offset=self._start)

    def _assignments(self) -> Row:
        values: Row = {}
        while True:
            match = self._take(_ASSIGNED)
            token = match[2]
            if token is None:  # a value that its domain bars by now may stand there already
                self._same()
                token = self._take(_ELSE)[1]
            values[self._names(match[1])[0]] = self._value(token)
            if not self._skip(b", "):
                return values

    def _update_set(self, table: Table) -> Iterator[Found]:
        sets: list[str] = []
        while not self._text.startswith(b"(", self._at):
            match = self._take(_SET_FROM)
            if match[1] != match[2]:
                raise NotDialectError(self._at)
            sets += self._names(match[1])
        for key, values in self._joined(sets):
            yield Change(UPDATE, table, key, values, offset=self._start)

    def _joined(self, sets: list[str]) -> Iterator[tuple[Row, Row]]:
        """Yield key and new values of each row of a VALUES join; sets: the columns that follow the key's."""
        stop = self._text.rfind(_VALUES_END, self._at)
        join = _JOINED.match(self._text, stop) if stop >= 0 else None
        if join is None:
            raise NotDialectError(self._at)
        columns = self._names(join[1])
        keys = len(columns) - len(sets)
        if keys < 1 or list(columns[keys:]) != sets:
            raise NotDialectError(self._at)
        rows = 0
        for tokens in self._rows(len(columns)):
            rows += 1
            values = self._values(tokens)
            yield (
                dict(zip(columns[:keys], values[:keys], strict=True)),
                dict(zip(columns[keys:], values[keys:], strict=True)),
            )
        if self._at != stop:
            raise NotDialectError(self._at)
        self._at = join.end()
        self._end(rows)

    # --- DELETE -------------------------------------------------------------------------------------------------

    def _delete(self) -> Iterator[Found]:
        head = self._take(_DELETE)
        table = self._tables(head[2], head[3])
        if head[1] and self._skip(b"; -- * rows\n"):
            self.resent.add(table)
            yield Emptied(table, self._start)
        elif not self._wanted(table):
            yield self._count(DELETE, table)
        elif head[4]:
            for key, _ in self._joined([]):
                yield Change(DELETE, table, key, offset=self._start)
        else:
            yield from self._delete_where(table)

    def _delete_where(self, table: Table) -> Iterator[Found]:
        at = self._at
        if self._skip(b" WHERE ") and (match := _LISTED.match(self._text, self._at)):
            self._at = match.end()
            column = self._names(match[1])[0]
            rows = 0
            while True:
                item = self._take(_ITEM)
                rows += 1
                yield Change(DELETE, table, {column: self._value(item[1])}, offset=self._start)
                if item[2] != b", ":
                    self._need(b" -- %d rows\n" % rows)
                    return
        self._at = at
        key, whole = self._where()
        self._end(1)
        yield Change(DELETE, table, key, whole=whole, offset=self._start)

    # --- WHERE --------------------------------------------------------------------------------------------------

    def _where(self) -> tuple[Row, bool]:
        """Take the condition for one row; return columns and values, and whether they are the image of a row."""
        if self._text.startswith(b";\n", self._at):  # a table without columns, as decoder_raw names its row
            return {}, True
        image = _IMAGE.match(self._text, self._at)
        if image is not None:
            self._at = image.end()
            return self._image(), True
        self._need(b" WHERE ")
        key: Row = {}
        while True:
            match = self._take(_COMPARED)
            key[self._names(match[1])[0]] = None if match[2] is None else self._value(match[2])
            if not self._skip(b" AND "):
                return key, False

    def _image(self) -> Row:
        row: Row = {}
        if self._skip(b" WHERE "):
            row = self._same()
        while self._skip(b" AND "):
            self._take(_COMPARED)  # once more, for an index
        self._need(b" LIMIT 1)")
        return row

    def _same(self) -> Row:
        """Take ROW(...)::record *= ROW(...) and what is compared by its text."""
        row: Row = {}
        while True:
            sides = self._take(_SIDES)
            columns = [self._names(name)[0] for name in _COLUMN.findall(sides[1])]
            values = []
            while True:
                item = self._take(_FIELD)
                values.append(self._value(item[1]))
                if item[2] == b")":
                    break
            if len(values) != len(columns):
                raise NotDialectError(self._at)
            row |= zip(columns, values, strict=True)
            if sides[0].endswith(b"(SELECT ROW("):
                self._need(b"::text)")
            if not self._text.startswith(b" AND ROW(", self._at):
                return row
            self._at += len(b" AND ")

    # --- the other forms ----------------------------------------------------------------------------------------

    def _replacement(self) -> Iterator[Found]:
        """A row that is taken out and put back: an UPDATE, since an identity column cannot be SET."""
        self._need(b"WITH d AS (")
        head = self._take(_DELETE)
        table = self._tables(head[2], head[3])
        if not self._wanted(table):
            yield self._count(UPDATE, table)
            return
        key, whole = self._where()
        columns = self._names(self._take(_REPLACING)[1])
        values: Row = {}
        for number, column in enumerate(columns, 1):
            item = self._take(_SELECTED)
            if item[1] is not None:
                values[column] = self._value(item[1])
            if (item[2] == b", ") == (number == len(columns)):
                raise NotDialectError(self._at)
        yield Change(UPDATE, table, key, _differing(key, values), whole, offset=self._start)

    def _images(self) -> Iterator[Found]:
        """A run under REPLICA IDENTITY FULL: rows are found by their text."""
        given = self._take(_IMAGES)[1].count(b",")
        stop = self._text.rfind(b"\n), o AS (", self._at)
        tail = _NUMBERED.match(self._text, stop) if stop >= 0 else None
        if tail is None:
            raise NotDialectError(self._at)
        table = self._tables(tail[2], tail[3])
        kind = DELETE if tail[4] is None else UPDATE
        if not self._wanted(table):
            yield self._count(kind, table)
            return
        columns, sets = self._names(tail[1]), tuple(self._names(n)[0] for n in _GIVEN.findall(tail[4] or b""))
        if len(sets) != given:
            raise NotDialectError(self._at)
        rows = 0
        for tokens in self._rows(given + 1):
            rows += 1
            try:
                fields = read_image(read_literal(tokens[0], self._taken) or b"")
            except ValueError:
                raise NotDialectError(self._at) from None
            if len(fields) != len(columns):
                raise NotDialectError(self._at)
            texts = [None if f is None else f.decode(self._codec, "surrogateescape") for f in fields]
            key: Row = dict(zip(columns, texts, strict=True))
            values: Row = dict(zip(sets, self._values(tokens[1:]), strict=True))
            yield Change(kind, table, key, _differing(key, values), True, offset=self._start)
        if self._at != stop:
            raise NotDialectError(self._at)
        self._at = tail.end()
        self._end(rows)

    def _truncate(self) -> Iterator[Found]:
        match = self._take(_TRUNCATE)
        for schema, name in _TABLES.findall(match[1]):
            yield Change(TRUNCATE, self._tables(schema, name), options=match[2].decode().strip(), offset=self._start)

    def _alter(self) -> Iterator[Found]:
        """Triggers and rules that are switched off around changes, which they caused on the source already."""
        self._take(_ALTER)
        return iter(())

    def _checks(self) -> Iterator[Found]:
        """CHECKs that are switched off around changes, which they let pass on the source."""
        self._take(_CHECKS)
        return iter(())


@dataclass(slots=True)
class _Copied:
    """A COPY block in work. torn: the beginning of a line whose end has still to come."""

    table: Table
    columns: tuple[str, ...]
    wanted: bool
    pieces: bool
    resent: bool
    base: int
    rows: int = 0
    torn: list[bytes] = field(default_factory=list)


_PIECES = Table("pg_temp", "scribe_piece")
_READERS: dict[bytes, Callable[[Body], Iterator[Found]]] = {
    b"INSERT ": Body._insert,
    b"UPDATE ": Body._update,
    b"DELETE ": Body._delete,
    b"TRUNCATE ": Body._truncate,
    b"WITH d ": Body._replacement,
    b"WITH v ": Body._images,
    b"ALTER TABLE ": Body._alter,
    b"CREATE TEMP TABLE pg_temp.": Body._temporary,
    b"DROP TABLE pg_temp.": Body._temporary,
    b"DO ": Body._checks,
}


def _differing(key: Row, values: Row) -> Row:
    """Leave out the values that the old row had already."""
    return {name: value for name, value in values.items() if name not in key or key[name] != value}
