"""Random statements as people write them; a seed and a number always give the same one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from integration.truth.chance import Chance
from integration.truth.dialects import DUCKDB, Dialect
from integration.truth.expressions import Expressions, alike, select
from integration.truth.systems import System
from integration.truth.tables import COLUMNS, Column
from integration.truth.terms import (
    Compared,
    Constant,
    Name,
    Ordinal,
    Part,
    Query,
    Source,
    Term,
    Union,
)


@dataclass(frozen=True)
class Statement:
    """A statement, what has to run before it, and how to compare its rows."""

    seed: int
    number: int
    body: Query | Union
    views: tuple[tuple[str, Query], ...]
    null_order: str
    bind: bool

    @property
    def ordered(self) -> bool:
        """Return whether the order of the rows is determined."""
        return self.body.total

    def prepared(self) -> list[str]:
        """Return views and settings to create before, in DuckDB's SQL."""
        order = [f"SET default_null_order = '{self.null_order}'"] if self.null_order else []
        return order + [
            f"CREATE OR REPLACE TEMP VIEW {name} AS {query.write(DUCKDB)}"
            for name, query in self.views
        ]

    def undone(self) -> list[str]:
        """Return the statements that undo the settings."""
        return ["RESET default_null_order"] if self.null_order else []

    def duckdb(self) -> tuple[str, list[Any]]:
        """Return DuckDB's SQL, and the values that it binds."""
        dialect = DUCKDB.binding() if self.bind else DUCKDB
        return self.body.write(dialect), dialect.bound or []

    def known(self, system: System) -> bool:
        """Return whether the database itself can run it, with the same meaning."""
        return self.body.known(system.name)

    def of(self, system: System) -> str:
        """Return the SQL for the database itself."""
        return self.body.write(Dialect.of(system))


def generate(system: str, prefixes: dict[str, str], seed: int, number: int) -> Statement:
    """Return statement ``number`` of ``seed`` over a system; ``prefixes`` has all systems'."""
    return _Generator(system, prefixes, Chance(system, f"{system} {seed} {number}")).statement(
        seed, number
    )


class _Generator:
    def __init__(self, system: str, prefixes: dict[str, str], random: Chance) -> None:
        self._system, self._prefixes, self._any = system, prefixes, random
        self._terms = Expressions(random, self._table)
        self._views: list[tuple[str, Query]] = []
        self._ctes: list[tuple[str, str, Query]] = []
        self._in_view = False

    def statement(self, seed: int, number: int) -> Statement:
        roll = self._any.random()
        body: Query | Union
        if roll < 0.08:
            body = self._union()
        else:
            body = self.query(depth=0)
            body.with_ = self._ctes
        bind = not self._views and self._any.random() < 0.15
        return Statement(seed, number, body, tuple(self._views), self._any.null_order, bind)

    # -- queries --------------------------------------------------------------------------------

    def query(self, depth: int, *, plain: bool = False) -> Query:
        """Return a query; ``plain``: only columns of its source."""
        source = self._source(depth)
        kinds: list[Callable[[Source], Query]] = [self._rows, self._rows, self._groups]
        if not plain:
            kinds += [self._groups, self._windows, self._distinct, self._counted]
        query = self._any.choice(kinds)(source)
        if query.total:
            return query
        where = [
            self._terms.condition(source, depth) for _ in range(self._any.pick(0, 0, 1, 1, 1, 2))
        ]
        query.where = where
        self._order(query)
        return query

    def _rows(self, source: Source) -> Query:
        chosen = self._any.some(source.columns, self._any.pick(1, 2, 3, 4))
        terms = [*source.keys, *(self._terms.maybe_computed(term) for term in chosen)]
        query = select(source, terms, self._any)
        query.keys = list(range(len(source.keys)))
        return query

    def _distinct(self, source: Source) -> Query:
        terms = [
            self._terms.maybe_computed(term)
            for term in self._any.some(source.columns, self._any.pick(1, 1, 2))
        ]
        query = select(source, terms, self._any)
        query.distinct = True
        query.keys = list(range(len(terms)))
        return query

    def _groups(self, source: Source) -> Query:
        keys = [
            self._terms.maybe_computed(term)
            for term in self._any.some(source.columns, self._any.pick(0, 1, 1, 2))
        ]
        measures = [self._terms.aggregate(source) for _ in range(self._any.pick(1, 1, 2, 3))]
        query = select(source, [*keys, *measures], self._any)
        query.grouped = [Ordinal(number + 1, Compared(term)) for number, term in enumerate(keys)]
        query.keys = list(range(len(keys)))
        if keys and self._any.random() < 0.25:
            count = Term("count", "count(*)")
            query.having = [
                Term("bool", "{0} >= {1}", (count, Constant(self._any.pick(1, 2, 3), "small")))
            ]
        return query

    def _counted(self, source: Source) -> Query:
        """Return a query that counts the rows that a LIMIT without an order leaves."""
        inner = select(source, [self._any.choice(source.columns)], self._any)
        inner.limit = self._any.pick(0, 1, 5, 1000)
        inner.where = [self._terms.condition(source, 1)]
        name = self._any.name("u")
        outer = Source(Term("table", f"({{0}}) AS {name}", (inner,)), (), ())
        query = Query(outer, [(Term("count", "count(*)"), "c0")], ["count"], [True])
        query.total = True
        return query

    def _windows(self, source: Source) -> Query:
        by = self._any.choice(source.columns)
        order = [
            self._any.sorted(self._any.choice(source.columns)),
            *map(self._any.sorted, source.keys),
        ]
        over = Term(
            "over",
            "PARTITION BY {0} ORDER BY " + ", ".join(f"{{{n + 1}}}" for n in range(len(order))),
            (Compared(by), *order),
        )
        value = self._any.choice(source.columns)
        small = [term for term in source.columns if term.family == "small"]
        forms = [
            Term("count", "row_number() OVER ({0})", (over,)),
            Term("count", "rank() OVER ({0})", (over,)),
            Term(value.family, "lag({0}) OVER ({1})", (value, over), agrees=value.agrees),
            Term(value.family, "first_value({0}) OVER ({1})", (value, over), agrees=value.agrees),
            Term("count", "count({0}) OVER (PARTITION BY {1})", (value, Compared(by))),
        ]
        if small:
            frame = "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW"
            forms.append(Term("count", f"sum({{0}}) OVER ({{1}} {frame})", (small[0], over)))
        windows = self._any.some(forms, self._any.pick(1, 2))
        query = select(source, [*source.keys, value, *windows], self._any)
        query.keys = list(range(len(source.keys)))
        if self._any.random() < 0.2:
            rank = Term("count", "row_number() OVER ({0})", (over,))
            query.qualify = [
                Term("bool", "{0} <= {1}", (rank, Constant(self._any.pick(1, 2), "small")))
            ]
        return query

    def _union(self) -> Union:
        left = self._rows(self._table())
        families = left.families
        right = self._table()
        terms = []
        for family, (part, _) in zip(families, left.items, strict=True):
            same = [term for term in right.columns if term.family == family]
            terms.append(self._any.choice(same) if same else part)
        if any(part in terms for part, _ in left.items):
            right = left.source
            terms = [part for part, _ in left.items]
        query = select(right, [term for term in terms if isinstance(term, Term)], self._any)
        for part, source in ((left, left.source), (query, right)):
            part.where = [self._terms.condition(source, 1)]
        operator = self._any.pick("UNION ALL", "UNION", "INTERSECT", "EXCEPT")
        return Union(left, query, operator, self._any.pick(None, None, 1, 3, 10))

    def _order(self, query: Query) -> None:
        """Maybe add an order; with a limit, one that determines all rows."""
        if self._any.random() < 0.35:
            return
        terms = [
            Term(family, name, agrees=agrees)
            for family, agrees, (_, name) in zip(
                query.families, query.agreeing, query.items, strict=True
            )
        ]
        first = self._any.some(terms, self._any.pick(1, 1, 2))
        rest = [terms[number] for number in query.keys if terms[number] not in first]
        query.order = [self._any.sorted(term) for term in (*first, *rest)]
        query.total = True
        if self._any.random() < 0.6:
            query.limit = self._any.pick(1, 2, 3, 5, 10)
            query.offset = self._any.pick(None, None, None, 1, 4)

    # -- sources --------------------------------------------------------------------------------

    def _table(self) -> Source:
        """Return a table, a view of the database's, or the user's own table."""
        roll = self._any.random()
        system = self._system
        if roll < 0.1:
            duckdb, server = f"mine_{system}", "mine"
        elif roll < 0.15 and len(self._prefixes) > 1:
            system = self._any.choice([name for name in self._prefixes if name != system])
            duckdb, server = f"{self._prefixes[system]}tag", ""
        else:
            server = self._any.pick("item", "item", "item", "tag", "tag", "seen")
            duckdb = self._prefixes[system] + server
        name = self._any.name("t")
        there = f"{server} AS {name}" if server else None
        part = Term("table", f"{duckdb} AS {name}", forms=dict.fromkeys(self._prefixes, there))
        columns = tuple(self._column(name, column) for column in COLUMNS[system])
        return Source(part, columns, columns[:1])

    def _source(self, depth: int) -> Source:
        roll = self._any.random()
        if depth >= 2 or roll < 0.4:
            return self._table()
        if roll < 0.7:
            return self._join(self._table(), self._table())
        if roll < 0.76:
            return self._join(self._derived(depth), self._table())
        if roll < 0.82:
            return self._join(self._last(), self._table())
        if roll < 0.87:
            return self._lateral()
        return self._derived(depth)

    def _last(self) -> Source:
        """Return the first or last rows of a table, or of two."""
        inner = self._join(self._table(), self._table()) if self._any.random() < 0.5 else None
        source = inner or self._table()
        query = select(source, [*source.keys, self._any.choice(source.columns)], self._any)
        query.keys = list(range(len(source.keys)))
        query.where = [self._terms.condition(source, 2)] if self._any.random() < 0.5 else []
        while not query.total:
            self._order(query)
        query.limit = query.limit or self._any.pick(1, 3, 10)
        name = self._any.name("d")
        columns = tuple(
            Term(family, f"{name}.{item}", agrees=agrees)
            for family, agrees, (_, item) in zip(
                query.families, query.agreeing, query.items, strict=True
            )
        )
        part = Term("table", f"({{0}}) AS {name}", (query,))
        return Source(part, columns, tuple(columns[number] for number in query.keys))

    def _lateral(self) -> Source:
        """Return, for each row of a table, the first rows of another that belong to it."""
        left, right = self._table(), self._table()
        pairs = [
            (one, other)
            for one in left.columns
            for other in right.columns
            if alike(one.family) == alike(other.family) and one.family not in {"float", "over"}
        ]
        one, other = self._any.choice(pairs)
        query = select(right, [*right.keys, self._any.choice(right.columns)], self._any)
        query.where = [Term("bool", "{0} = {1}", (Compared(other), Compared(one)))]
        query.order = [self._any.sorted(term) for term in right.keys]
        query.limit = self._any.pick(1, 2)
        name = self._any.name("d")
        columns = tuple(
            Term(family, f"{name}.{item}", agrees=agrees)
            for family, agrees, (_, item) in zip(
                query.families, query.agreeing, query.items, strict=True
            )
        )
        kind = self._any.pick(
            "CROSS JOIN LATERAL ({1}) AS {2}", "LEFT JOIN LATERAL ({1}) AS {2} ON true"
        )
        forms: dict[str, str | None] = {"mariadb": None, "sqlite": None}
        part = Term("table", f"{{0}} {kind}", (left.part, query, Name(name)), forms=forms)
        keys = left.keys + columns[: len(right.keys)]
        return Source(part, left.columns + columns, keys)

    def _derived(self, depth: int) -> Source:
        """Return a subquery, a CTE, or a view of the user's."""
        kind = self._any.pick("subquery", "subquery", "cte", "view")
        outside = self._in_view
        self._in_view = outside or kind == "view"
        query = self.query(depth + 1, plain=True)
        self._in_view = outside
        if query.limit is None:
            query.order, query.total = [], False
        name = self._any.name("d")
        if kind == "cte" and outside:
            kind = "subquery"
        part: Term
        if kind == "cte":
            self._ctes.append(
                (name, self._any.pick("", "", "MATERIALIZED ", "NOT MATERIALIZED "), query)
            )
            known = _Defined(query)
            part = Term("table", name + "{0}", (known,))
        elif kind == "view":
            view = f"v{len(self._views)}"
            known_view = f"({{0}}) AS {name}"
            self._views.append((view, query))
            part = Term(
                "table",
                f"{view} AS {name}",
                (query,),
                forms=dict.fromkeys(self._prefixes, known_view),
            )
        else:
            part = Term("table", f"({{0}}) AS {name}", (query,))
        columns = tuple(
            Term(family, f"{name}.{item}", agrees=agrees)
            for family, agrees, (_, item) in zip(
                query.families, query.agreeing, query.items, strict=True
            )
        )
        if query.keys:
            return Source(part, columns, tuple(columns[number] for number in query.keys))
        return Source(part, columns, columns)

    def _join(self, left: Source, right: Source) -> Source:
        pairs = [
            (one, other)
            for one in left.columns
            for other in right.columns
            if alike(one.family) == alike(other.family)
            and alike(one.family) not in {"float", "over"}
        ]
        kind = self._any.pick("JOIN", "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        conditions: list[Part] = []
        for one, other in self._any.some(pairs, self._any.pick(1, 1, 1, 2)):
            operator = (
                self._any.pick("=", "=", "=", "=", "=", "<")
                if kind in {"JOIN", "LEFT JOIN"}
                else "="
            )
            conditions.append(
                Term("bool", f"{{0}} {operator} {{1}}", (Compared(one), Compared(other)))
            )
        if not conditions:
            conditions = [Term("bool", "true")]
        if kind == "FULL JOIN" and len(conditions) > 1:
            conditions = conditions[:1]
        both = " AND ".join(f"{{{number + 2}}}" for number in range(len(conditions)))
        form = f"{{0}} {kind} {{1}} ON {both}"
        forms: dict[str, str | None] = {"mariadb": None} if kind == "FULL JOIN" else {}
        part = Term("table", form, (left.part, right.part, *conditions), forms=forms)
        return Source(part, left.columns + right.columns, left.keys + right.keys)

    @staticmethod
    def _column(table: str, column: Column) -> Term:
        forms = {} if column.shown else dict.fromkeys(COLUMNS)
        return Term(column.family, f"{table}.{column.name}", forms=forms, agrees=column.agrees)


@dataclass(frozen=True)
class _Defined:
    """Nothing, known where a query of WITH is."""

    query: Query

    def write(self, dialect: Dialect) -> str:
        return ""

    def known(self, dialect: str) -> bool:
        return self.query.known(dialect)
