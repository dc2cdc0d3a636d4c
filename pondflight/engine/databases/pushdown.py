"""What the servers are asked to do of a statement, so that its rows are the same as without.

MySQL is asked for whole tables, unless ``narrowing`` finds that a query needs less of one; what may
be written there says ``changes``. PostgreSQL is sent the filters that DuckDB makes, unless a plan
shows one that means something else there; then it, too, is asked for whole tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import duckdb

from pondflight.engine.databases.changes import Changes
from pondflight.engine.databases.fixed import FILTERS
from pondflight.engine.databases.mysql_columns import MysqlColumns
from pondflight.engine.databases.narrowing import Narrowing, Node, whole
from pondflight.engine.databases.postgres_types import PostgresTypes, Unlike
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values

OFF = f"RESET SESSION {FILTERS}"
"""How a cursor is left for whatever runs on it next."""

_PLANNED = frozenset(
    {
        "ALTER",
        "COPY",
        "COPY_DATABASE",
        "CREATE",
        "DELETE",
        "EXECUTE",
        "INSERT",
        "MERGE_INTO",
        "SELECT",
        "UPDATE",
    }
)


class Pushdown:
    """Decides for each statement of one worker. Until ``watch`` it leaves all as it is."""

    def __init__(self) -> None:
        self._watches = False
        columns = MysqlColumns()
        self._narrowing = Narrowing(columns)
        self._changes = Changes(columns)
        self._types = PostgresTypes()

    def watch(self) -> None:
        """There are servers: look at each statement from now on."""
        self._watches = True

    def concerns(self, statement: Statement) -> bool:
        """Whether ``begin`` has anything to do."""
        return self._watches and statement.effect in _PLANNED

    def begin(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        values: Values,
        *,
        in_transaction: bool,
    ) -> str:
        """What to run in place of ``statement.text``, maybe that; ``cursor`` is made ready for it.

        Whatever comes of it, ``OFF`` has to be run before anything else runs on ``cursor``. What is
        another text may fail to be bound: run the statement's own then. Raises ``NotSupported`` for
        a change that MySQL would take for another one.
        """
        text = statement.text
        self._changes.check(cursor, statement, values)
        if statement.kind == "PREPARE":
            return text
        plan = _plan(cursor, statement.planned, values)
        nodes = list(_nodes(plan))
        names = {node["name"] for node in nodes}
        if "POSTGRES_SCAN" in names and not _alike(nodes, self._types.unlike(cursor)):
            cursor.execute(f"SET SESSION {FILTERS} = false")
        if "MYSQL_SCAN" not in names:
            return text
        return self._narrowing.narrowed(cursor, statement, plan, in_transaction=in_transaction)

    def check_insert(
        self, cursor: duckdb.DuckDBPyConnection, catalog: str | None, columns: Sequence[str]
    ) -> None:
        """Raises ``NotSupported`` if rows cannot be written safely to the database ``catalog``."""
        if self._watches:
            self._changes.check_insert(cursor, catalog, columns)


def _plan(cursor: duckdb.DuckDBPyConnection, text: str, values: Values) -> list[Node]:
    """The plan, or nothing where there is none to be seen."""
    with suppress(duckdb.ProgrammingError, duckdb.NotSupportedError):
        row = cursor.execute(f"EXPLAIN (FORMAT json) {text}", values).fetchone()
        found: list[Node] = json.loads(row[1]) if row else []
        return found
    return []


def _nodes(plan: list[Node]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    for node in plan:
        yield dict(node)
        yield from _nodes(node["children"])


def _alike(nodes: list[dict[str, Any]], databases: list[Unlike]) -> bool:
    """Whether PostgreSQL means by the filters of a plan what DuckDB does.

    A filter has the name of its column in it. Those that a join makes while it runs are in no plan:
    they may be on any column that is read.
    """
    joins = any("JOIN" in node["name"] for node in nodes)
    for node in nodes:
        if node["name"] != "POSTGRES_SCAN":
            continue
        table, filters = (whole(node["extra_info"].get(key, "")) for key in ("Table", "Filters"))
        # Of the two, the extension sends the first only.
        if " IS NULL OR Dynamic Filter" in filters:
            return False
        read = node["extra_info"].get("Projections", [])
        columns = {read} if isinstance(read, str) else set(read)
        for database in databases:
            unlike = database.columns.get(table, ())
            if database.all_text or any(_has(filters, name) for name in unlike):
                return False
            if joins and not columns.isdisjoint(unlike):
                return False
    return True


def _has(filters: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", filters) is not None
