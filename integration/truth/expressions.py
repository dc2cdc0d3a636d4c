"""Random expressions, aggregates and conditions over the columns of a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from integration.truth.chance import Chance
from integration.truth.dialects import Dialect
from integration.truth.tables import COLUMNS
from integration.truth.terms import Compared, Constant, Name, Part, Query, Source, Term

_ALIKE = {"key": "int", "small": "int", "big": "int", "count": "int"}
"""Families that are compared with each other."""

_NOWHERE: dict[str, str | None] = dict.fromkeys(COLUMNS)
"""Of what is DuckDB's alone."""


def alike(family: str) -> str:
    """Return what comparable families have in common."""
    return _ALIKE.get(family, family)


def select(source: Source, terms: list[Term], random: Chance) -> Query:
    """Return a query for ``terms``, each under a new name."""
    return Query(
        source,
        [(term, random.name("c")) for term in terms],
        [term.family for term in terms],
        [term.agrees for term in terms],
    )


class Expressions:
    """Makes expressions; ``table`` returns a table for subqueries."""

    def __init__(self, random: Chance, table: Callable[[], Source]) -> None:
        self._any, self._table = random, table

    def maybe_computed(self, term: Term) -> Term:
        """Return ``term``, or something computed from it."""
        return self._computed(term) if self._any.random() < 0.25 else term

    def _computed(self, term: Term) -> Term:
        """Return something computed from a term, of the same family or another."""
        small = Constant(self._any.pick(1, 2, 3), "small", typed=True)
        other = Constant(self._any.value(term.family), term.family, typed=True)
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
                Term("text", "upper({0})", (term,), forms=_NOWHERE),
                Term("text", "trim({0})", (term,), forms=_NOWHERE),
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
                Term("moment", "date_trunc('month', {0})", (term,), forms=_NOWHERE),
            ]
        elif term.family == "float":
            choices = choices[:1]
        elif term.family in {"enum", "over", "bool", "count"}:
            return term
        return self._any.choice(choices)

    def aggregate(self, source: Source) -> Term:
        """Return an aggregate over the rows of a source."""
        term = self._any.choice(source.columns)
        if self._any.random() < 0.2:
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
        if term.family in {"small", "key", "decimal", "big"}:
            # Of what SQLite has as floats, or adds up to more than its integers hold.
            exact = {} if term.family in {"small", "key"} else {"sqlite": None}
            choices += [
                Term("count", "sum({0})", (term,), forms=exact),
                Term("count", "sum(DISTINCT {0})", (term,), forms=exact),
            ]
        if term.family in {"small", "key"}:
            double = {"postgres": "avg(CAST({0} AS double precision))"}
            choices.append(Term("float", "avg(CAST({0} AS DOUBLE))", (term,), forms=double))
        if term.family == "text":
            ordered = ", ".join(f"{{{n + 1}}}" for n in range(len(source.keys) + 1))
            sort = (self._any.sorted(term), *map(self._any.sorted, source.keys))
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
        return self._any.choice(choices)

    def condition(self, source: Source, depth: int) -> Part:
        """Return a condition on the rows of a source."""
        roll = self._any.random()
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
        term = self.maybe_computed(self._any.choice(source.columns))
        return self._any.choice(self._simple(source, term))

    def _simple(self, source: Source, term: Term) -> list[Part]:
        """Return all simple conditions on a term."""
        compared = Compared(term)
        values = [Constant(self._any.value(term.family), term.family) for _ in range(3)]
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
            other = Compared(self._any.choice(same))
            found += [
                Term("bool", f"{{0}} {operator} {{1}}", (compared, other))
                for operator in ("=", "<", "<>")
            ]
        if term.family == "text":
            patterns = [
                Constant(p, "text")
                for p in self._any.some(("a%", "%a%", "_", "M%", "%o", "a_", "%"), 2)
            ]
            letters: dict[str, str | None] = {"sqlite": None}
            typed = Constant(values[1].value, "text", typed=True)
            found += [
                Term("bool", "{0} LIKE {1}", (compared, patterns[0]), forms=letters),
                Term("bool", "{0} NOT LIKE {1}", (compared, patterns[1]), forms=letters),
                Term("bool", "{0} ILIKE {1}", (compared, patterns[0]), forms=_NOWHERE),
                Term("bool", "starts_with({0}, {1})", (compared, values[0]), forms=_NOWHERE),
                Term("bool", "contains({0}, {1})", (compared, typed), forms=_NOWHERE),
                Term("bool", "upper({0}) = {1}", (compared, values[1]), forms=_NOWHERE),
            ]
        if term.family == "bool":
            found += [term, Term("bool", "NOT {0}", (term,))]
        return found

    def _about_others(self, source: Source, depth: int) -> Part:
        """Return a condition with a subquery."""
        other = self._table()
        pairs = [
            (one, two)
            for one in source.columns
            for two in other.columns
            if alike(one.family) == alike(two.family) and one.family not in {"float", "bool"}
        ]
        if not pairs:
            return Term("bool", "true")
        one, two = self._any.choice(pairs)
        inner = select(other, [two], self._any)
        inner.where = [self.condition(other, 2)] if self._any.random() < 0.6 else []
        if self._any.random() < 0.4:
            kind = self._any.pick("IN", "NOT IN")
            inner.agreeing = [two.agrees]
            return Term("bool", f"{{0}} {kind} ({{1}})", (Compared(one), _ComparedRows(inner, two)))
        if self._any.random() < 0.5:
            link = Term("bool", "{0} = {1}", (Compared(two), Compared(one)))
            inner.where = [*inner.where, link]
            inner.items = [(Name("1"), "one")]
            return Term("bool", f"{self._any.pick('', 'NOT ')}EXISTS ({{0}})", (inner,))
        if two.family in {"uuid", "bool"}:
            return Term("bool", "{0} IS NOT NULL", (one,))
        inner.items = [
            (Term(two.family, f"{self._any.pick('min', 'max')}({{0}})", (Compared(two),)), "m")
        ]
        operator = self._any.pick("=", "<", "<=", ">", ">=", "<>")
        return Term("bool", f"{{0}} {operator} ({{1}})", (Compared(one), inner))


@dataclass(frozen=True)
class _ComparedRows:
    """A subquery whose rows are compared."""

    query: Query
    term: Term

    def write(self, dialect: Dialect) -> str:
        return self.query.write(dialect)

    def known(self, dialect: str) -> bool:
        return self.term.agrees and self.query.known(dialect)
