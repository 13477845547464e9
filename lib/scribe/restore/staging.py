"""Less to send of a long transaction: net effects of its statements on single rows (net.py), and long UPDATEs at once.

A segment has the rows of a mass UPDATE in statements of some hundred, lists of literals that the server parses, plans
and evaluates one by one. Statements that follow each other and differ in their rows alone become one: it takes the same
values of the same types from a temporary table, into which they are sent by COPY. It ends in what they end in if no row
of the table decides what becomes of another (tables.py), and if each key stands once among the rows and in the table:
that is what the count tells, as a key that stands twice acts once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from scribe.restore import net
from scribe.restore.net import Key, UnprovedError
from scribe.restore.statements import IDENTIFIER, expected_rows, unquoted
from scribe.restore.tables import Table

LEAST = 128 << 10  # bytes of statements: fewer are sent as they stand
MOST = 8 << 20  # bytes of statements that become one
WIDEST = 1000  # bytes of a row: a server would compress longer ones twice, and put them aside
FEWEST = 20  # statements that are joined in a long transaction
FEW = 2000  # bytes of a statement with several rows: a longer one gains nothing by being joined
TABLES = 50  # temporary ones in a transaction, each of which is locked until its end
ROWS = b" FROM (VALUES\n("
_END = b"\n) AS v ("
# As the decoder writes them: escapes are those that COPY knows, too, and no control character stands for itself.
_VALUE = (
    rb"(?:'(?:[^'\\\t\r\n]++|'')*+'|[0-9]++|true|false"
    rb"|E'(?:[^'\\\t\r\n]++|''|\\[btnfr\\]|\\x[0-9A-F]{2})*+')"
)
_VALUE_OR_NULL = rb"(?:NULL|" + _VALUE + rb")"
_TYPED = re.compile(rb"(" + _VALUE_OR_NULL + rb")::(" + IDENTIFIER + rb"\." + IDENTIFIER + rb")(, |\))")


@dataclass(frozen=True, slots=True)
class Shape:
    """What statements have in common that may become one. name: of the table; head: what stands before their rows;
    columns: of the rows, with their types; where: what finds the row of each."""

    name: bytes
    head: bytes
    columns: tuple[tuple[bytes, bytes], ...]
    where: bytes


@dataclass(slots=True)
class Run:
    """Statements that may become one. data: their rows as COPY takes them."""

    shape: Shape
    statements: list[bytes] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    size: int = 0  # bytes of the statements
    rows: int = 0

    def take(self, statement: bytes, data: bytes, rows: int) -> None:
        """Take one more statement."""
        self.statements.append(statement)
        self.data.append(data)
        self.size += len(statement)
        self.rows += rows


# What is sent for a run. A savepoint stands before its rows: if they cannot be sent so, its statements are.

KEEP = b"".join([b"SET LOCAL enable_%b TO DEFAULT;\n" % method for method in net.METHODS]) + b"RELEASE scribe_rows;\n"
UNDO = b"ROLLBACK TO scribe_rows;\nRELEASE scribe_rows;\n"
SAVE = b"SAVEPOINT scribe_rows;\n"
_BY_INDEX = b"".join([b"SET LOCAL enable_%b = off;\n" % method for method in net.METHODS])


def place(number: int) -> bytes:
    """Return the name of a temporary table."""
    return b"pg_temp.scribe_rows_%d" % number


def create(shape: Shape, number: int) -> bytes:
    """Return what makes the temporary table with this number for the rows of a shape."""
    columns = b", ".join([b"%b %b" % column for column in shape.columns])
    table = b"CREATE TEMPORARY TABLE %b (%b) ON COMMIT DROP;\n" % (place(number), columns)
    return SAVE + table + b"RELEASE scribe_rows;\n"


def begin(number: int) -> bytes:
    """Return what is run before rows are sent: what is outside of the savepoint is emptied in place."""
    return b"TRUNCATE %b;\n" % place(number) + SAVE + _BY_INDEX


def update(shape: Shape, number: int) -> bytes:
    """Return the statement that takes the rows from there."""
    return b"%b FROM %b AS v WHERE %b;\n" % (shape.head.removesuffix(ROWS), place(number), shape.where)


def drop(numbers: Iterable[int]) -> bytes:
    """Return what removes temporary tables."""
    return b"DROP TABLE %b;\n" % b", ".join(map(place, numbers))


# Reading


def may_be_staged(statement: bytes) -> bool:
    """Whether a statement may have the form, so that it is worth a closer look."""
    return statement.startswith(b"UPDATE ") and ROWS in statement


def may_be_joined(statement: bytes) -> bool:
    """Whether a statement changes a single row or a few, so that joining it with others may gain something."""
    one_or_few = len(statement) < FEW or not statement.endswith(b" rows\n")
    return one_or_few and net.table_of(statement) is not None


def read(statement: bytes, table: Table) -> tuple[Shape, bytes, int]:
    """Return a statement's shape, its rows as COPY takes them, and how many. Raises UnprovedError.

    table: what is known of the one that table_of() names.
    """
    name = net.table_of(statement)
    end = statement.rfind(_END)
    if name is None or end < 0 or not table.alone:
        raise UnprovedError
    start = len(b"UPDATE ONLY " if statement.startswith(b"UPDATE ONLY ") else b"UPDATE ") + len(name) + 1
    sets, rest = net.SETS.match(statement, start, end), net.ROWS_OF.match(statement, end)
    if sets is None or rest is None:
        raise UnprovedError
    columns = _columns(sets[1], rest, table)
    first, at = _read_first(statement, sets.end(), columns)
    lines = _lines(b",\n(" + b", ".join(first) + b")" + statement[at:end], len(first))
    if len(lines) != expected_rows(statement) or len(statement) > len(lines) * WIDEST:
        raise UnprovedError
    return Shape(name, statement[: sets.end()], columns, rest[2]), _as_copied(lines), len(lines)


def _columns(sets: bytes, rest: re.Match[bytes], table: Table) -> tuple[tuple[bytes, bytes], ...]:
    """Return the columns of a statement's rows, with their types. sets, rest: what stands before and after them."""
    columns: Key = tuple(net.COLUMN.findall(rest[1]))
    keys = rest[2].count(b" AND ") + 1
    key, others = columns[:keys], columns[keys:]
    if (
        sets != b", ".join([b"%b = v.%b" % (column, column) for column in others])
        or rest[2] != net.on_key(key)
        or tuple(sorted(map(unquoted, key))) not in table.keys
    ):
        raise UnprovedError
    try:
        return tuple([(column, table.types[unquoted(column)]) for column in columns])
    except KeyError:
        raise UnprovedError from None


def _read_first(statement: bytes, at: int, columns: tuple[tuple[bytes, bytes], ...]) -> tuple[list[bytes], int]:
    """Return the literals of the row that has types, and where it ends. Raises UnprovedError if it has others."""
    values: list[bytes] = []
    for number, (_, known) in enumerate(columns, 1):
        found = _TYPED.match(statement, at)
        if found is None or _parts(found[2]) != _parts(known) or (found[3] == b")") != (number == len(columns)):
            raise UnprovedError
        values.append(found[1])
        at = found.end()
    return values, at


def _parts(name: bytes) -> list[bytes]:
    """Return schema and name of a type: which of them need quotes is a matter of who writes them."""
    return [unquoted(part) for part in net.COLUMN.findall(name)]


def _lines(rows: bytes, columns: int) -> list[bytes]:
    """Return rows, of which each begins with a comma and a line break, as literals between tabs."""
    lines = [b"\t".join(values) for values in _row_of(columns).findall(rows)]
    # What findall() has passed over is missing here.
    if sum(map(len, lines)) + len(lines) * (len(b",\n()") + columns - 1) != len(rows):
        raise UnprovedError
    return lines


@functools.lru_cache(maxsize=100)
def _row_of(columns: int) -> re.Pattern[bytes]:
    """Return what matches a row of at least two columns."""
    values = [_VALUE] + [_VALUE_OR_NULL] * (columns - 1)  # the first is of the key
    return re.compile(rb",\n\(" + b", ".join([b"(" + value + b")" for value in values]) + rb"\)")


def _as_copied(lines: list[bytes]) -> bytes:
    """Return rows, literals between tabs, as COPY takes them.

    Of most, quotes stand around values alone: what is left without them is the value.
    """
    if any(sign in line for line in lines for sign in _SIGNS):
        lines = [_copied(line) if any(sign in line for sign in _SIGNS) else _plain(line) for line in lines]
        return b"\n".join([*lines, b""])
    return _plain(b"\n".join([*lines, b""]))


_SIGNS = (b"''", b"E'")  # of values that are not as they stand; the latter may also be the end of one that is


def _plain(text: bytes) -> bytes:
    return text.replace(b"\tNULL", b"\t\\N").replace(b"'", b"")


def _copied(line: bytes) -> bytes:
    return b"\t".join(map(_field, line.split(b"\t")))


def _field(literal: bytes) -> bytes:
    """Return a literal as COPY takes it."""
    if literal == b"NULL":
        return b"\\N"
    if literal.startswith((b"'", b"E'")):
        return literal[literal.index(b"'") + 1 : -1].replace(b"''", b"'")
    return literal
