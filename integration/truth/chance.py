"""The random choices in a statement."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from integration.truth.tables import COLUMNS
from integration.truth.terms import Compared, Sorted, Term

T = TypeVar("T")

_NULL_ORDERS = ("nulls_first", "postgres", "sqlite")
"""Of ``default_null_order``, which users may set."""


class Chance(Random):
    """Random choices for one statement over a system; the same for the same ``seed``."""

    def __init__(self, system: str, seed: str) -> None:
        super().__init__(seed)
        self._system = system
        self._names = 0
        self.null_order = self.choice(_NULL_ORDERS) if self.random() < 0.08 else ""
        """``default_null_order`` of the session; empty: DuckDB's own."""

    def name(self, letter: str) -> str:
        """Return a name that the statement does not use yet."""
        self._names += 1
        return f"{letter}{self._names}"

    def pick(self, *choices: Any) -> Any:
        """Return one of the choices."""
        return self.choice(choices)

    def some(self, found: Sequence[T], count: int) -> list[T]:
        """Return ``count`` of the items, or all."""
        return self.sample(found, min(count, len(found)))

    def value(self, family: str) -> Any:
        """Return a value of a family, mostly one that the tables contain."""
        if family == "count":
            return self.pick(0, 1, 2, 5)
        if family == "key":
            return self.randrange(1, 61)
        found = [column.values for column in COLUMNS[self._system] if column.family == family]
        if not found:  # a column of another system
            every = [column for columns in COLUMNS.values() for column in columns]
            found = [column.values for column in every if column.family == family]
        return self.choice(self.choice(found))

    def sorted(self, term: Term) -> Sorted:
        """Return a term of ORDER BY."""
        descending = self.random() < 0.5
        default = "LAST"
        if self.null_order == "nulls_first":
            default = "FIRST"
        elif self.null_order:
            default = "FIRST" if descending == (self.null_order == "postgres") else "LAST"
        return Sorted(Compared(term), descending, self.pick("", "", "", "FIRST", "LAST"), default)
