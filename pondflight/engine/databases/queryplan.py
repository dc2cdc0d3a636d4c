"""What DuckDB is about to do for a statement: its plan, read once for all who decide by it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from pondflight.dsn import MYSQL, POSTGRES
from pondflight.engine.sql.lexer import tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values

Node = Mapping[str, Any]
"""A node of a plan, as in EXPLAIN's JSON, or of a parsed query."""

SCANS: Mapping[str, str] = {"POSTGRES_SCAN": POSTGRES, "MYSQL_SCAN": MYSQL}
"""The nodes that read a table of a server, and the system that they read from."""

PLANNED = frozenset(
    {
        "COPY",
        "CREATE",
        "DELETE",
        "EXECUTE",
        "INSERT",
        "MERGE_INTO",
        "SELECT",
        "UPDATE",
    }
)
"""The effects of statements that may read tables, as ``Statement`` has them."""

_PIVOTS = frozenset({"pivot", "pivot_wider"})


@dataclass(frozen=True, slots=True)
class Scan:
    """Where a plan reads a table of a server.

    ``columns`` are the names of those that it reads; ``None``: what comes back is computed there.
    ``pushed`` are the filters that the server is sent, one behind the other, and ``filter`` is the
    expression right above, which DuckDB applies; each may be empty.
    """

    system: str
    table: str
    columns: frozenset[str] | None
    pushed: str
    filter: str


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """A plan. ``is_whole``: nothing of the statement runs beside it."""

    roots: Sequence[Node]
    is_whole: bool

    def nodes(self) -> Iterator[Node]:
        """All nodes, each before those below it."""
        yield from nodes(self.roots)

    def scans(self, system: str | None = None) -> Iterator[Scan]:
        """All scans of servers, or those of one system."""
        return (scan for scan in _scans(self.roots) if system in (None, scan.system))


def read_plan(cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values) -> QueryPlan:
    """The plan of ``statement``, with nothing in it where there is none to be seen.

    What is wrong with a statement will be said when it runs.
    """
    if not _PIVOTS.isdisjoint(token.text for token in tokenize(statement.planned)):
        return QueryPlan((), is_whole=False)  # it runs as several statements
    try:
        row = cursor.execute(f"EXPLAIN (FORMAT json) {statement.planned}", values).fetchone()
        return QueryPlan(json.loads(row[1]) if row else (), is_whole=row is not None)
    except (duckdb.ProgrammingError, duckdb.NotSupportedError, ValueError):
        return QueryPlan((), is_whole=False)


def whole(value: str | list[str]) -> str:
    """What DuckDB splits at line ends."""
    return value if isinstance(value, str) else "\n".join(value)


def nodes(plan: Sequence[Node]) -> Iterator[Node]:
    """All nodes of ``plan``, each before those below it."""
    pending = list(reversed(plan))
    while pending:
        node = pending.pop()
        pending.extend(reversed(node["children"]))
        yield node


def _scans(plan: Sequence[Node], above: str = "") -> Iterator[Scan]:
    for node in plan:
        name, details = node["name"].strip(), node["extra_info"]
        expression = ""
        if name == "FILTER" and len(node["children"]) == 1:
            expression = whole(details.get("Expression", ""))
        if name in SCANS:
            yield Scan(
                system=SCANS[name],
                table=whole(details.get("Table", "")),
                columns=_projected(details),
                pushed=whole(details.get("Filters", "")),
                filter=above,
            )
        yield from _scans(node["children"], expression)


def _projected(details: Mapping[str, Any]) -> frozenset[str] | None:
    names = details.get("Projections", "")
    names = [names] if isinstance(names, str) else names
    return None if any(name.startswith("_agg_") for name in names) else frozenset(names)
