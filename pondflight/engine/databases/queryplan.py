"""DuckDB's plan of a statement, read once for everything that decides by it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from pondflight.dsn import MYSQL, POSTGRES
from pondflight.engine.duck import sql_errors
from pondflight.engine.sql.lexer import tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values

Node = Mapping[str, Any]
"""A node of a plan, as in EXPLAIN's JSON, or of a parsed query."""

SCANS: Mapping[str, str] = {"POSTGRES_SCAN": POSTGRES, "MYSQL_SCAN": MYSQL}
"""The nodes that read a table of a server, and its system."""

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
"""The effects of statements that may read tables, named as in ``Statement``."""

_PIVOTS = frozenset({"pivot", "pivot_wider"})


_KEY = re.compile(r"(?:#(?P<number>\d+)|(?:\w+\.)*(?P<name>\w+)) (?P<direction>ASC|DESC)")


@dataclass(frozen=True, slots=True)
class Top:
    """The first ``rows`` rows by ``keys``: column names with ASC or DESC.

    A plan does not tell where NULLs go.
    """

    keys: Sequence[tuple[str, str]]
    rows: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Where a plan reads a table of a server.

    ``columns`` are the names of those that it reads; ``None``: what comes back is computed there.
    ``pushed`` are the filters that the server is sent, one behind the other, and ``filter`` is the
    expression right above, which DuckDB applies; each may be empty. ``top``: it uses no other rows.
    """

    system: str
    table: str
    columns: frozenset[str] | None
    pushed: str
    filter: str
    top: Top | None = None


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """A plan; ``is_whole``: it covers everything that the statement runs."""

    roots: Sequence[Node]
    is_whole: bool

    def nodes(self) -> Iterator[Node]:
        """Yield all nodes, each before those below it."""
        yield from nodes(self.roots)

    def scans(self, system: str | None = None) -> Iterator[Scan]:
        """Yield all scans of servers, or those of one system."""
        return (scan for scan in _scans(self.roots) if system in (None, scan.system))


def read_plan(cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values) -> QueryPlan:
    """Return the plan of ``statement``; an empty one if DuckDB gives none.

    Errors of the statement are left for its run.
    """
    if not _PIVOTS.isdisjoint(token.text for token in tokenize(statement.planned)):
        return QueryPlan((), is_whole=False)  # it runs as several statements
    with sql_errors(lines_above=1):
        try:
            row = cursor.execute(f"EXPLAIN (FORMAT json)\n{statement.planned}", values).fetchone()
            return QueryPlan(json.loads(row[1]) if row else (), is_whole=row is not None)
        except (duckdb.ProgrammingError, duckdb.NotSupportedError, ValueError):
            return QueryPlan((), is_whole=False)


def whole(value: str | list[str]) -> str:
    """Return the text that DuckDB has split into lines."""
    return value if isinstance(value, str) else "\n".join(value)


def nodes(plan: Sequence[Node]) -> Iterator[Node]:
    """Yield all nodes of ``plan``, each before those below it."""
    pending = list(reversed(plan))
    while pending:
        node = pending.pop()
        pending.extend(reversed(node["children"]))
        yield node


def _scans(plan: Sequence[Node], above: str = "", parent: Node | None = None) -> Iterator[Scan]:
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
                top=_top(parent, _listed(details, "Projections")),
            )
        yield from _scans(node["children"], expression, node)


def _top(parent: Node | None, columns: Sequence[str]) -> Top | None:
    """Return the first rows that the node above a scan of ``columns`` takes, if it does so."""
    if parent is None or parent["name"].strip() != "TOP_N":
        return None
    details = parent["extra_info"]
    keys: list[tuple[str, str]] = []
    for text in _listed(details, "Order By"):
        found = _KEY.fullmatch(text)
        if found is None:
            return None
        name = found["name"] or columns[int(found["number"])]
        keys.append((name, found["direction"]))
    return Top(keys, int(details["Top"]) + int(details.get("Offset", 0)))


def _listed(details: Node, key: str) -> Sequence[str]:
    value = details.get(key, "")
    return [value] if isinstance(value, str) else value


def _projected(details: Node) -> frozenset[str] | None:
    names = _listed(details, "Projections")
    return None if any(name.startswith("_agg_") for name in names) else frozenset(names)
