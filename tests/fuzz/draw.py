"""What a statement is made of: objects of the catalog, new names, types and values, drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from catalog import Catalog, Relation, quote
from values import COLUMN_TYPES, Values

ROLES = ["fuzz_a", "fuzz_b", 'Fuzz "röle"']
SCHEMAS = ["public", "s1", "S two"]
COMPARABLE = {
    "integer",
    "bigint",
    "smallint",
    "numeric",
    "text",
    "date",
    "uuid",
    "boolean",
    "bytea",
    "double precision",
    "name",
}
VOLATILE_TEXT = [
    "md5(random()::text)",
    "clock_timestamp()::text",
    "now()::text",
    "current_user::text",
    "gen_random_uuid()::text",
]


class NothingToDo(Exception):
    """The kind of statement that was drawn has nothing to act on."""


class Draw:
    """The hand that draws. catalog is to be set before the first draw.

    role: the one in effect, None where it is the session's own; alone: no other transaction is open; streaming: capture
    has begun.
    """

    catalog: Catalog

    def __init__(self, values: Values) -> None:
        self.random = values.random
        self.values = values
        self.quote = values.identifier
        self.counter = 0
        self.role: str | None = None
        self.alone = False
        self.streaming = False

    def pick(self, kinds: str = "r", where: Callable[[Relation], bool] = lambda r: True) -> Relation:
        """Some relation; one the role in effect owns, if there is one. Raises NothingToDo."""
        found = [r for r in self.catalog.relations if r.kind in kinds and not r.elsewhere and where(r)]
        if self.role is not None:
            found = [r for r in found if r.owner == self.role]
        if not found:
            raise NothingToDo
        return self.random.choice(found)

    def new(self, stem: str, schema: bool = True) -> str:
        """A new name, qualified or not, as SQL writes it."""
        self.counter += 1
        name = self.quote(self.values.name(f"{stem}{self.counter}"))
        if not schema or self.values.chance(0.1):
            return name
        return f"{quote(self.random.choice(SCHEMAS))}.{name}"

    def column(self, relation: Relation, where: Callable[[dict[str, Any]], bool] = lambda c: True) -> dict[str, Any]:
        """Some column of it. Raises NothingToDo."""
        found = [c for c in relation.columns if where(c)]
        if not found:
            raise NothingToDo
        return self.random.choice(found)

    def type(self) -> str:
        """A type for a column."""
        own = self.catalog.types.names()
        if self.catalog.extensions and self.values.chance(0.04):
            return f"public.{self.random.choice(self.catalog.extensions)}"
        if own and self.values.chance(0.15):
            return self.random.choice(own) + self.random.choice(["", "", "[]"])
        return self.random.choice(COLUMN_TYPES)

    def text(self) -> str:
        """A text as a literal."""
        return self.values.literal(self.values.text())

    def key(self, t: Relation) -> str:
        """A column that a key or an index may have. Raises NothingToDo."""
        return self.quote(self.column(t, lambda c: c["type"] in COMPARABLE)["name"])


Kind = Callable[[Draw], str]  # makes one statement, or raises NothingToDo
