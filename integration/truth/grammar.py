"""Statements that people write, at random: of one seed and one number always the same one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from integration.truth.dialects import DUCKDB, Dialect
from integration.truth.systems import System
from integration.truth.tables import COLUMNS, Column
from integration.truth.terms import (
    Compared,
    Constant,
    Name,
    Ordinal,
    Part,
    Query,
    Sorted,
    Source,
    Term,
    Union,
)

_SETTINGS = ("nulls_first", "postgres", "sqlite")
"""Of ``default_null_order``, which users may set."""

_ALIKE = {"key": "int", "small": "int", "big": "int", "count": "int"}
"""Families that are compared with each other."""


@dataclass(frozen=True)
class Statement:
    """One statement, what has to run before it, and how its rows are to be compared."""

    seed: int
    number: int
    body: Query | Union
    views: tuple[tuple[str, Query], ...]
    null_order: str
    bind: bool

    @property
    def ordered(self) -> bool:
        """Whether the order of the rows is told."""
        return self.body.total

    def prepared(self) -> list[str]:
        """Views and settings, in DuckDB's SQL."""
        order = [f"SET default_null_order = '{self.null_order}'"] if self.null_order else []
        return order + [
            f"CREATE OR REPLACE TEMP VIEW {name} AS {query.write(DUCKDB)}"
            for name, query in self.views
        ]

    def undone(self) -> list[str]:
        """What takes the settings back."""
        return ["RESET default_null_order"] if self.null_order else []

    def duckdb(self) -> tuple[str, list[Any]]:
        """DuckDB's SQL, and the values that it binds."""
        dialect = DUCKDB.binding() if self.bind else DUCKDB
        return self.body.write(dialect), dialect.bound or []

    def known(self, system: System) -> bool:
        """Whether the database itself can be asked, and means the same."""
        return self.body.known(system.name)

    def of(self, system: System) -> str:
        """The SQL of the database itself."""
        return self.body.write(Dialect.of(system))


def generate(system: str, prefixes: dict[str, str], seed: int, number: int) -> Statement:
    """Statement ``number`` of ``seed`` over a system; ``prefixes`` are those of all that are there."""
    return _Generator(system, prefixes, Random(f"{system} {seed} {number}")).statement(seed, number)


class _Generator:
    def __init__(self, system: str, prefixes: dict[str, str], random: Random) -> None:
        self._system, self._prefixes, self._random = system, prefixes, random
        self._names = 0
        self._views: list[tuple[str, Query]] = []
        self._ctes: list[tuple[str, str, Query]] = []
        self._in_view = False
        self._null_order = random.choice(_SETTINGS) if random.random() < 0.08 else ""

    def statement(self, seed: int, number: int) -> Statement:
        roll = self._random.random()
        body: Query | Union
        if roll < 0.08:
            body = self._union()
        else:
            body = self.query(depth=0)
            body.with_ = self._ctes
        bind = not self._views and self._random.random() < 0.15
        return Statement(seed, number, body, tuple(self._views), self._null_order, bind)

    # -- queries --------------------------------------------------------------------------------

    def query(self, depth: int, *, plain: bool = False) -> Query:
        """A query; ``plain``: columns of its source, no more."""
        source = self._source(depth)
        kinds: list[Callable[[Source], Query]] = [self._rows, self._rows, self._groups]
        if not plain:
            kinds += [self._groups, self._windows, self._distinct, self._counted]
        query = self._random.choice(kinds)(source)
        if query.total:
            return query
        where = [self.condition(source, depth) for _ in range(self._pick(0, 0, 1, 1, 1, 2))]
        query.where = where
        self._order(query)
        return query

    def _rows(self, source: Source) -> Query:
        chosen = self._sample(source.columns, self._pick(1, 2, 3, 4))
        terms = [*source.keys, *(self._maybe_computed(term) for term in chosen)]
        query = self._select(source, terms)
        query.keys = list(range(len(source.keys)))
        return query

    def _distinct(self, source: Source) -> Query:
        terms = [
            self._maybe_computed(term) for term in self._sample(source.columns, self._pick(1, 1, 2))
        ]
        query = self._select(source, terms)
        query.distinct = True
        query.keys = list(range(len(terms)))
        return query

    def _groups(self, source: Source) -> Query:
        keys = [
            self._maybe_computed(term)
            for term in self._sample(source.columns, self._pick(0, 1, 1, 2))
        ]
        measures = [self._aggregate(source) for _ in range(self._pick(1, 1, 2, 3))]
        query = self._select(source, [*keys, *measures])
        query.grouped = [Ordinal(number + 1, Compared(term)) for number, term in enumerate(keys)]
        query.keys = list(range(len(keys)))
        if keys and self._random.random() < 0.25:
            count = Term("count", "count(*)")
            query.having = [
                Term("bool", "{0} >= {1}", (count, Constant(self._pick(1, 2, 3), "small")))
            ]
        return query

    def _counted(self, source: Source) -> Query:
        """How many rows a LIMIT without an order leaves."""
        inner = self._select(source, [self._random.choice(source.columns)])
        inner.limit = self._pick(0, 1, 5, 1000)
        inner.where = [self.condition(source, 1)]
        name = self._name("u")
        outer = Source(Term("table", f"({{0}}) AS {name}", (inner,)), (), ())
        query = Query(outer, [(Term("count", "count(*)"), "c0")], ["count"], [True])
        query.total = True
        return query

    def _windows(self, source: Source) -> Query:
        by = self._random.choice(source.columns)
        order = [self._sorted(self._random.choice(source.columns)), *map(self._sorted, source.keys)]
        over = Term(
            "over",
            "PARTITION BY {0} ORDER BY " + ", ".join(f"{{{n + 1}}}" for n in range(len(order))),
            (Compared(by), *order),
        )
        value = self._random.choice(source.columns)
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
        windows = self._sample(forms, self._pick(1, 2))
        query = self._select(source, [*source.keys, value, *windows])
        query.keys = list(range(len(source.keys)))
        if self._random.random() < 0.2:
            rank = Term("count", "row_number() OVER ({0})", (over,))
            query.qualify = [
                Term("bool", "{0} <= {1}", (rank, Constant(self._pick(1, 2), "small")))
            ]
        return query

    def _union(self) -> Union:
        left = self._rows(self._table())
        families = left.families
        right = self._table()
        terms = []
        for family, (part, _) in zip(families, left.items, strict=True):
            same = [term for term in right.columns if term.family == family]
            terms.append(self._random.choice(same) if same else part)
        if any(part in terms for part, _ in left.items):
            right = left.source
            terms = [part for part, _ in left.items]
        query = self._select(right, [term for term in terms if isinstance(term, Term)])
        for part, source in ((left, left.source), (query, right)):
            part.where = [self.condition(source, 1)]
        operator = self._pick("UNION ALL", "UNION", "INTERSECT", "EXCEPT")
        return Union(left, query, operator)

    def _select(self, source: Source, terms: list[Term]) -> Query:
        return Query(
            source,
            [(term, self._name("c")) for term in terms],
            [term.family for term in terms],
            [term.agrees for term in terms],
        )

    def _order(self, query: Query) -> None:
        """Perhaps an order; where there is a limit, one that leaves nothing open."""
        if self._random.random() < 0.35:
            return
        terms = [
            Term(family, name, agrees=agrees)
            for family, agrees, (_, name) in zip(
                query.families, query.agreeing, query.items, strict=True
            )
        ]
        first = self._sample(terms, self._pick(1, 1, 2))
        rest = [terms[number] for number in query.keys if terms[number] not in first]
        query.order = [self._sorted(term) for term in (*first, *rest)]
        query.total = True
        if self._random.random() < 0.6:
            query.limit = self._pick(1, 2, 3, 5, 10)
            query.offset = self._pick(None, None, None, 1, 4)

    # -- sources --------------------------------------------------------------------------------

    def _table(self) -> Source:
        """A table, a view of the database's, or the user's own table."""
        roll = self._random.random()
        system = self._system
        if roll < 0.1:
            duckdb, server = f"mine_{system}", "mine"
        elif roll < 0.15 and len(self._prefixes) > 1:
            system = self._random.choice([name for name in self._prefixes if name != system])
            duckdb, server = f"{self._prefixes[system]}tag", ""
        else:
            server = self._pick("item", "item", "item", "tag", "tag", "seen")
            duckdb = self._prefixes[system] + server
        name = self._name("t")
        there = f"{server} AS {name}" if server else None
        part = Term("table", f"{duckdb} AS {name}", forms=dict.fromkeys(self._prefixes, there))
        columns = tuple(self._column(name, column) for column in COLUMNS[system])
        return Source(part, columns, columns[:1])

    def _source(self, depth: int) -> Source:
        roll = self._random.random()
        if depth >= 2 or roll < 0.4:
            return self._table()
        if roll < 0.7:
            return self._join(self._table(), self._table())
        if roll < 0.78:
            return self._join(self._derived(depth), self._table())
        return self._derived(depth)

    def _derived(self, depth: int) -> Source:
        """A subquery, a CTE, or a view of the user's."""
        kind = self._pick("subquery", "subquery", "cte", "view")
        outside = self._in_view
        self._in_view = outside or kind == "view"
        query = self.query(depth + 1, plain=True)
        self._in_view = outside
        if query.limit is None:
            query.order, query.total = [], False
        name = self._name("d")
        if kind == "cte" and outside:
            kind = "subquery"
        part: Term
        if kind == "cte":
            self._ctes.append(
                (name, self._pick("", "", "MATERIALIZED ", "NOT MATERIALIZED "), query)
            )
            known = _KnownWith(query)
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
            if _alike(one.family) == _alike(other.family)
            and _alike(one.family) not in {"float", "over"}
        ]
        kind = self._pick("JOIN", "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        conditions: list[Part] = []
        for one, other in self._sample(pairs, self._pick(1, 1, 1, 2)):
            operator = (
                self._pick("=", "=", "=", "=", "=", "<") if kind in {"JOIN", "LEFT JOIN"} else "="
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
        return Term(column.family, f"{table}.{column.name}", agrees=column.agrees)

    # -- terms ----------------------------------------------------------------------------------

    def _maybe_computed(self, term: Term) -> Term:
        return self._computed(term) if self._random.random() < 0.25 else term

    def _computed(self, term: Term) -> Term:
        """Something made of a term, of the same family or another."""
        small = Constant(self._pick(1, 2, 3), "small", typed=True)
        other = Constant(self._value(term.family), term.family, typed=True)
        agrees = term.agrees
        choices: list[Term] = [
            Term(
                term.family,
                "CASE WHEN {0} IS NULL THEN {1} ELSE {0} END",
                (term, other),
                agrees=agrees,
            ),
            Term(term.family, "COALESCE({0}, {1})", (term, other), agrees=agrees),
        ]
        if term.family == "small":
            choices = [
                Term("small", "({0} + {1})", (term, small)),
                Term("small", "({0} % {1})", (term, small)),
                Term("small", "abs({0})", (term,)),
            ]
        elif term.family == "text":
            length = {"mariadb": "CHAR_LENGTH({0})"}
            choices += [
                Term("small", "length({0})", (term,), forms=length),
                Term("text", "({0} || {1})", (term, other), agrees=agrees),
                Term("text", "substr({0}, 1, {1})", (term, small), agrees=agrees),
                Term("text", "replace({0}, 'a', 'o')", (term,), agrees=agrees),
                Term("text", "upper({0})", (term,), forms=dict.fromkeys(COLUMNS)),
                Term("text", "trim({0})", (term,), forms=dict.fromkeys(COLUMNS)),
            ]
        elif term.family in {"date", "moment"}:
            year = {"sqlite": "CAST(strftime('%Y', {0}) AS INTEGER)"}
            choices += [
                Term(
                    "small",
                    "CAST(EXTRACT(YEAR FROM {0}) AS INTEGER)",
                    (term,),
                    forms=year | {"mariadb": "YEAR({0})"},
                ),
                Term("moment", "date_trunc('month', {0})", (term,), forms=dict.fromkeys(COLUMNS)),
            ]
        elif term.family == "float":
            choices = choices[:1]
        elif term.family in {"enum", "over", "bool", "count"}:
            return term
        return self._random.choice(choices)

    def _aggregate(self, source: Source) -> Term:
        term = self._random.choice(source.columns)
        if self._random.random() < 0.2:
            term = self._computed(term)
        choices = [
            Term("count", "count(*)"),
            Term("count", "count({0})", (term,)),
            Term("count", "count(DISTINCT {0})", (Compared(term),)),
            Term(
                "bool",
                "count(*) FILTER (WHERE {0} IS NOT NULL) > 0",
                (term,),
                forms={"mariadb": None},
            ),
        ]
        if term.family not in {"bool", "uuid"}:
            choices += [
                Term(term.family, "min({0})", (Compared(term),), agrees=term.agrees),
                Term(term.family, "max({0})", (Compared(term),), agrees=term.agrees),
            ] * 2
        if term.family in {"small", "key", "decimal"}:
            exact = {"sqlite": None} if term.family == "decimal" else {}
            choices += [
                Term("count", "sum({0})", (term,), forms=exact),
                Term(
                    "float",
                    "avg(CAST({0} AS DOUBLE))",
                    (term,),
                    forms={"postgres": "avg(CAST({0} AS double precision))"},
                ),
                Term("count", "sum(DISTINCT {0})", (term,), forms=exact),
            ]
        if term.family == "big":
            choices.append(Term("count", "sum({0})", (term,), forms={"sqlite": None}))
        if term.family == "text":
            ordered = ", ".join(f"{{{n + 1}}}" for n in range(len(source.keys) + 1))
            sort = (self._sorted(term), *map(self._sorted, source.keys))
            choices.append(
                Term(
                    "text",
                    f"string_agg({{0}}, '|' ORDER BY {ordered})",
                    (term, *sort),
                    forms={
                        "mariadb": f"group_concat({{0}} ORDER BY {ordered} SEPARATOR '|')",
                        "sqlite": None,
                    },
                    agrees=term.agrees,
                )
            )
        return self._random.choice(choices)

    def condition(self, source: Source, depth: int) -> Part:
        """A condition on the rows of a source."""
        roll = self._random.random()
        if roll < 0.12 and depth < 2:
            return Term(
                "bool", "({0} OR {1})", (self.condition(source, 2), self.condition(source, 2))
            )
        if roll < 0.17:
            return Term("bool", "NOT ({0})", (self.condition(source, 2),))
        if roll < 0.32 and depth < 2:
            return self._about_others(source, depth)
        if not source.columns:
            return Term("bool", "true")
        term = self._maybe_computed(self._random.choice(source.columns))
        return self._random.choice(self._simple(source, term))

    def _simple(self, source: Source, term: Term) -> list[Part]:
        """All the simple conditions that there are on a term."""
        compared = Compared(term)
        values = [Constant(self._value(term.family), term.family) for _ in range(3)]
        found: list[Part] = [
            Term("bool", "{0} IS NULL", (term,)),
            Term("bool", "{0} IS NOT NULL", (term,)),
            Term("bool", "{0} IN ({1}, {2})", (compared, *values[:2])),
            Term("bool", "{0} NOT IN ({1}, {2})", (compared, *values[:2])),
            Term("bool", "{0} IN ({1}, NULL)", (compared, values[0])),
            Term("bool", "{0} BETWEEN {1} AND {2}", (compared, *values[:2])),
            Term(
                "bool",
                "{0} IS DISTINCT FROM {1}",
                (compared, values[0]),
                forms={"mariadb": "NOT ({0} <=> {1})", "sqlite": "{0} IS NOT {1}"},
            ),
        ]
        found += [
            Term("bool", f"{{0}} {operator} {{1}}", (compared, values[0]))
            for operator in ("=", "=", "=", "<>", "<", "<=", ">", ">=", ">", "<")
        ]
        same = [t for t in source.columns if t.family == term.family and t is not term]
        if same:
            other = Compared(self._random.choice(same))
            found += [
                Term("bool", f"{{0}} {operator} {{1}}", (compared, other))
                for operator in ("=", "<", "<>")
            ]
        if term.family == "text":
            patterns = [
                Constant(p, "text")
                for p in self._sample(("a%", "%a%", "_", "M%", "%o", "a_", "%"), 2)
            ]
            letters: dict[str, str | None] = {"sqlite": None}
            inside = forms = dict.fromkeys(COLUMNS)
            found += [
                Term("bool", "{0} LIKE {1}", (compared, patterns[0]), forms=letters),
                Term("bool", "{0} NOT LIKE {1}", (compared, patterns[1]), forms=letters),
                Term("bool", "{0} ILIKE {1}", (compared, patterns[0]), forms=forms),
                Term("bool", "starts_with({0}, {1})", (compared, values[0]), forms=forms),
                Term("bool", "contains({0}, {1})", (compared, values[1]), forms=inside),
                Term("bool", "upper({0}) = {1}", (compared, values[1]), forms=forms),
            ]
        if term.family == "bool":
            found += [term, Term("bool", "NOT {0}", (term,))]
        return found

    def _about_others(self, source: Source, depth: int) -> Part:
        """A condition with a subquery in it."""
        other = self._table()
        pairs = [
            (one, two)
            for one in source.columns
            for two in other.columns
            if _alike(one.family) == _alike(two.family) and one.family not in {"float", "bool"}
        ]
        if not pairs:
            return Term("bool", "true")
        one, two = self._random.choice(pairs)
        inner = self._select(other, [two])
        inner.where = [self.condition(other, 2)] if self._random.random() < 0.6 else []
        if self._random.random() < 0.4:
            kind = self._pick("IN", "NOT IN")
            inner.agreeing = [two.agrees]
            return Term(
                "bool", f"{{0}} {kind} ({{1}})", (Compared(one), _KnownCompared(inner, two))
            )
        if self._random.random() < 0.5:
            link = Term("bool", "{0} = {1}", (Compared(two), Compared(one)))
            inner.where = [*inner.where, link]
            inner.items = [(Name("1"), "one")]
            return Term("bool", f"{self._pick('', 'NOT ')}EXISTS ({{0}})", (inner,))
        if two.family in {"uuid", "bool"}:
            return Term("bool", "{0} IS NOT NULL", (one,))
        inner.items = [
            (Term(two.family, f"{self._pick('min', 'max')}({{0}})", (Compared(two),)), "m")
        ]
        operator = self._pick("=", "<", "<=", ">", ">=", "<>")
        return Term("bool", f"{{0}} {operator} ({{1}})", (Compared(one), inner))

    # -- chance ---------------------------------------------------------------------------------

    def _value(self, family: str) -> Any:
        if family == "count":
            return self._pick(0, 1, 2, 5)
        if family == "key":
            return self._random.randrange(1, 61)
        found = [column.values for column in COLUMNS[self._system] if column.family == family]
        if not found:  # a column of another system
            found = [
                c.values for columns in COLUMNS.values() for c in columns if c.family == family
            ]
        return self._random.choice(self._random.choice(found))

    def _sorted(self, term: Term) -> Sorted:
        descending = self._random.random() < 0.5
        default = "LAST"
        if self._null_order == "nulls_first":
            default = "FIRST"
        elif self._null_order in {"postgres", "sqlite"}:
            default = "FIRST" if descending == (self._null_order == "postgres") else "LAST"
        return Sorted(Compared(term), descending, self._pick("", "", "", "FIRST", "LAST"), default)

    def _name(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}"

    def _pick(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _sample(self, found: Any, count: int) -> list[Any]:
        return self._random.sample(list(found), min(count, len(found)))


@dataclass(frozen=True)
class _KnownWith:
    """Nothing, known where a query of WITH is."""

    query: Query

    def write(self, dialect: Dialect) -> str:
        return ""

    def known(self, dialect: str) -> bool:
        return self.query.known(dialect)


@dataclass(frozen=True)
class _KnownCompared:
    """A subquery whose rows are compared."""

    query: Query
    term: Term

    def write(self, dialect: Dialect) -> str:
        return self.query.write(dialect)

    def known(self, dialect: str) -> bool:
        return self.term.agrees and self.query.known(dialect)


def _alike(family: str) -> str:
    return _ALIKE.get(family, family)
