"""Parts of a statement that each dialect can write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from integration.truth.dialects import Dialect


class Part(Protocol):
    """A part that can be written in any dialect for which it is ``known``."""

    def write(self, dialect: Dialect) -> str:
        """Return it as SQL."""

    def known(self, dialect: str) -> bool:
        """Return whether that database supports it with DuckDB's meaning."""


@dataclass(frozen=True)
class Term:
    """An expression: ``form`` with ``parts`` in the places {0}, {1} …

    ``forms`` are those of dialects that write it differently; ``None``: they do not support it.
    """

    family: str
    form: str
    parts: tuple[Part, ...] = ()
    forms: Mapping[str, str | None] = field(default_factory=dict)
    agrees: bool = True
    """Whether the database compares it as DuckDB does."""

    def write(self, dialect: Dialect) -> str:
        form = self.forms.get(dialect.name, self.form)
        return (form or self.form).format(*(part.write(dialect) for part in self.parts))

    def known(self, dialect: str) -> bool:
        here = self.forms.get(dialect, self.form) is not None
        return here and all(part.known(dialect) for part in self.parts)


@dataclass(frozen=True)
class Compared:
    """A term that is compared, sorted or grouped: unknown where that has another meaning."""

    term: Term

    def write(self, dialect: Dialect) -> str:
        return self.term.write(dialect)

    def known(self, dialect: str) -> bool:
        return self.term.agrees and self.term.known(dialect)


@dataclass(frozen=True)
class Ordinal:
    """A term of GROUP BY, by its position in the list of columns."""

    place: int
    term: Part

    def write(self, dialect: Dialect) -> str:
        return str(self.place)

    def known(self, dialect: str) -> bool:
        return self.term.known(dialect)


@dataclass(frozen=True)
class Constant:
    """A value of a family."""

    value: Any
    family: str
    typed: bool = False
    """Whether its type decides that of a column, or which function is meant.

    A client binds each int as a BIGINT, and text has no type before it is bound.
    """

    def write(self, dialect: Dialect) -> str:
        text = dialect.constant(self.value)
        if text[0] != "$" or not self.typed:
            return text
        if isinstance(self.value, str):
            return f"CAST({text} AS VARCHAR)"
        return f"CAST({text} AS INTEGER)" if self._is_small() else text

    def _is_small(self) -> bool:
        return type(self.value) is int and abs(self.value) < 2**31

    def known(self, dialect: str) -> bool:
        return True


@dataclass(frozen=True)
class Name:
    """A name of our own."""

    text: str

    def write(self, dialect: Dialect) -> str:
        return self.text

    def known(self, dialect: str) -> bool:
        return True


@dataclass(frozen=True)
class Sorted:
    """A term of ORDER BY; ``nulls`` is FIRST, LAST, or empty: then ``default`` decides.

    ``default`` is what the session's ``default_null_order`` makes of it.
    """

    term: Part
    descending: bool
    nulls: str
    default: str

    def write(self, dialect: Dialect) -> str:
        text = f"{self.term.write(dialect)}{' DESC' if self.descending else ''}"
        if dialect.name == "duckdb":
            return f"{text} NULLS {self.nulls}" if self.nulls else text
        nulls = self.nulls or self.default
        if dialect.name == "mariadb":
            if (nulls == "LAST") == self.descending:  # as it is there without words
                return text
            return (
                f"{self.term.write(dialect)} IS NULL{' DESC' if nulls == 'FIRST' else ''}, {text}"
            )
        return f"{text} NULLS {nulls}"

    def known(self, dialect: str) -> bool:
        return self.term.known(dialect)


@dataclass(frozen=True)
class Source:
    """A source to select from: its columns, and those that are unique together."""

    part: Part
    columns: tuple[Term, ...]
    keys: tuple[Term, ...]


@dataclass
class Query:
    """A query of one SELECT; ``total``: its order determines all rows."""

    source: Source
    items: list[tuple[Part, str]]
    families: list[str]
    agreeing: list[bool]
    with_: list[tuple[str, str, Query]] = field(default_factory=list)
    distinct: bool = False
    where: list[Part] = field(default_factory=list)
    grouped: list[Part] = field(default_factory=list)
    having: list[Part] = field(default_factory=list)
    qualify: list[Part] = field(default_factory=list)
    order: list[Sorted] = field(default_factory=list)
    limit: int | None = None
    offset: int | None = None
    total: bool = False
    keys: list[int] = field(default_factory=list)
    """Which items are unique together."""

    def write(self, dialect: Dialect) -> str:
        words = []
        if self.with_:
            parts = (f"{name} AS {how}({q.write(dialect)})" for name, how, q in self._with(dialect))
            words.append("WITH " + ", ".join(parts))
        items = ", ".join(f"{part.write(dialect)} AS {name}" for part, name in self.items)
        words.append(f"SELECT {'DISTINCT ' if self.distinct else ''}{items}")
        words.append(f"FROM {self.source.part.write(dialect)}")
        for keyword, separator, found in (
            ("WHERE", " AND ", self.where),
            ("GROUP BY", ", ", self.grouped),
            ("HAVING", " AND ", self.having),
            ("QUALIFY", " AND ", self.qualify),
            ("ORDER BY", ", ", self.order),
        ):
            if found:
                words.append(f"{keyword} {separator.join(part.write(dialect) for part in found)}")
        if self.limit is not None:
            words.append(f"LIMIT {self.limit}")
        if self.offset is not None:
            words.append(f"OFFSET {self.offset}")
        return " ".join(words)

    def _with(self, dialect: Dialect) -> list[tuple[str, str, Query]]:
        return [
            (name, how if dialect.name in {"duckdb", "postgres"} else "", query)
            for name, how, query in self.with_
        ]

    def known(self, dialect: str) -> bool:
        parts: list[Part] = [self.source.part, *(part for part, _ in self.items)]
        parts += [*self.where, *self.grouped, *self.having, *self.order]
        parts += [query for _, _, query in self.with_]
        if self.distinct and not all(self.agreeing):
            return False
        if self.qualify or (self.offset is not None and self.limit is None):
            return False
        return all(part.known(dialect) for part in parts)


@dataclass(frozen=True)
class Union:
    """Two queries, and the set operation between them."""

    left: Query
    right: Query
    operator: str
    limit: int | None = None
    """Then the rows are sorted by all columns, which leaves nothing open."""

    @property
    def total(self) -> bool:
        """Return whether the order of the rows is determined."""
        return self.limit is not None

    def write(self, dialect: Dialect) -> str:
        text = f"{self.left.write(dialect)} {self.operator} {self.right.write(dialect)}"
        if self.limit is None:
            return text
        order = ", ".join(
            Sorted(Name(str(number + 1)), number % 2 == 1, "LAST", "LAST").write(dialect)
            for number in range(len(self.left.items))
        )
        return f"{text} ORDER BY {order} LIMIT {self.limit}"

    def known(self, dialect: str) -> bool:
        if self.limit is not None and dialect == "mariadb":  # sorted by expressions, it has not
            return False
        compares = self.operator != "UNION ALL" or self.limit is not None
        agrees = all(self.left.agreeing) and all(self.right.agreeing)
        return self.left.known(dialect) and self.right.known(dialect) and (agrees or not compares)
