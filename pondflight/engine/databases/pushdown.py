r"""Filters that MySQL is sent: none with a backslash in it.

DuckDB's extension writes the strings of a filter into its SQL for MySQL with their quotes doubled
and their backslashes as they are, and to MySQL a backslash is an escape. A filter for ``C:\new``
would find nothing, and of one that begins with a backslash and a quote the rest would be SQL of the
user's. So filters are not pushed down, except where a statement's plan, which has views, macros
and computed constants resolved, shows that all strings mean there what they mean here.

It keeps results right. It is no wall: whoever makes a constant that is another one in the plan
than in the statement (of the time, say) may still send the server a query of theirs, in a
transaction that only reads. ``docs/security.md`` says so.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import duckdb

from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values
from pondflight.errors import NotSupported

FILTERS = "mysql_experimental_filter_pushdown"
AGGREGATES = "mysql_aggregate_pushdown_enabled"
SETTINGS = (FILTERS, AGGREGATES)
"""What is set for each statement, so that the sandbox must leave it open, and users must not."""

OFF = f"SET SESSION {FILTERS} = false; SET SESSION {AGGREGATES} = true"
"""How a cursor is left for whatever runs on it next."""

_PLANNED = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "COPY", "CREATE", "EXECUTE"}
)


class Pushdown:
    """Decides for each statement of one worker. Until ``watch`` it leaves all as it is."""

    def __init__(self) -> None:
        self._watches = False

    def watch(self, database: duckdb.DuckDBPyConnection) -> None:
        """Push nothing down from now on but what was looked at."""
        self._watches = True
        with database.cursor() as cursor:
            cursor.execute(f"SET GLOBAL {FILTERS} = false")

    def concerns(self, statement: Statement) -> bool:
        """Whether ``begin`` has anything to do."""
        return self._watches and statement.effect in _PLANNED and statement.kind != "PREPARE"

    def begin(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
    ) -> None:
        """Let the filters of ``statement``, which is about to run, be pushed down if they may be.

        Whatever comes of it, ``OFF`` has to be run before anything else runs on ``cursor``. Raises
        ``NotSupported`` for a change that MySQL would take for another one.
        """
        cursor.execute(f"SET SESSION {FILTERS} = true")
        # An aggregate that is pushed down hides the filters below it.
        cursor.execute(f"SET SESSION {AGGREGATES} = false")
        nodes = _nodes(_plan(cursor, statement.planned, values))
        cursor.execute(OFF)
        scans = [node for node in nodes if node["name"] == "MYSQL_SCAN"]
        if scans and any(map(_changes_elsewhere, nodes)) and any(map(_has_backslash, nodes)):
            raise NotSupported(
                "an UPDATE or DELETE in a MySQL database cannot have a string with a backslash in "
                "it: to DuckDB and to MySQL it is not the same string"
            )
        if scans and not any(map(_has_backslash, scans)):
            cursor.execute(f"SET SESSION {FILTERS} = true")


def _plan(cursor: duckdb.DuckDBPyConnection, text: str, values: Values) -> Any:
    """The plan, or nothing where there is none to be seen."""
    with suppress(duckdb.ProgrammingError, duckdb.NotSupportedError):
        row = cursor.execute(f"EXPLAIN (FORMAT json) {text}", values).fetchone()
        return json.loads(row[1]) if row else []
    return []


def _nodes(plan: Any) -> list[dict[str, Any]]:
    """All nodes of a plan."""
    found: list[dict[str, Any]] = []
    for node in plan:
        found += [node, *_nodes(node["children"])]
    return found


def _changes_elsewhere(node: dict[str, Any]) -> bool:
    """Whether it changes rows of an attached server. For its own, DuckDB gives no name."""
    return node["name"] in {"UPDATE", "DELETE"} and "Table Name" in node["extra_info"]


def _has_backslash(node: dict[str, Any]) -> bool:
    return any(
        "\\" in (value if isinstance(value, str) else "".join(value))
        for value in node["extra_info"].values()
    )
