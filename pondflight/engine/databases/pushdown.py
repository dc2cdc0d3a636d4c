"""Decides what servers may do of a statement, so that its rows stay the same.

MySQL is asked for whole tables, unless ``narrowing`` finds that a query needs less of one;
``changes`` decides what may be written there. PostgreSQL is sent DuckDB's filters, unless a plan
shows one that has another meaning there; then it is asked for whole tables too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from pondflight.dsn import MYSQL, POSTGRES
from pondflight.engine.databases.changes import Changes
from pondflight.engine.databases.fixed import FILTERS
from pondflight.engine.databases.mysql_columns import MysqlColumns
from pondflight.engine.databases.narrowing import Narrowing
from pondflight.engine.databases.postgres_types import PostgresTypes, Unlike
from pondflight.engine.databases.queryplan import PLANNED, QueryPlan
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values

OFF = f"RESET SESSION {FILTERS}"
"""Resets a cursor for whatever runs on it next."""

_LOOKED_AT = PLANNED | {"ALTER", "COPY_DATABASE"}


class Pushdown:
    """Decides for each statement of one worker. Before ``watch``, it changes nothing."""

    def __init__(self) -> None:
        self.watches = False
        """Whether there are servers."""
        columns = MysqlColumns()
        self._narrowing = Narrowing(columns)
        self._changes = Changes(columns)
        self._types = PostgresTypes()

    def watch(self) -> None:
        """There are servers: check each statement from now on."""
        self.watches = True

    def concerns(self, statement: Statement) -> bool:
        """Return whether ``begin`` has anything to do."""
        return self.watches and statement.effect in _LOOKED_AT

    def check(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
    ) -> None:
        """Raise ``NotSupported`` for a change that MySQL would read differently."""
        self._changes.check(cursor, statement, values)

    def begin(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        plan: QueryPlan,
        *,
        in_transaction: bool,
    ) -> str:
        """Return the text to run in place of ``statement.text``, and prepare ``cursor`` for it.

        Run ``OFF`` afterwards, also if this fails, before anything else runs on ``cursor``. If
        binding another text fails, run the statement's own.
        """
        if not plan.is_whole or (
            any(plan.scans(POSTGRES)) and not _alike(plan, self._types.unlike(cursor))
        ):
            cursor.execute(f"SET SESSION {FILTERS} = false")
        if not any(plan.scans(MYSQL)):
            return statement.text
        return self._narrowing.narrowed(cursor, statement, plan, in_transaction=in_transaction)

    def check_insert(
        self, cursor: duckdb.DuckDBPyConnection, catalog: str | None, columns: Sequence[str]
    ) -> None:
        """Raise ``NotSupported`` if rows cannot be written safely to the database ``catalog``."""
        if self.watches:
            self._changes.check_insert(cursor, catalog, columns)


def _alike(plan: QueryPlan, databases: list[Unlike]) -> bool:
    """Return whether a plan's filters mean the same to PostgreSQL as to DuckDB.

    A filter contains the name of its column. The filters that a join makes while it runs are in no
    plan, and may be on any column that is read.
    """
    joins = any("JOIN" in node["name"] for node in plan.nodes())
    for scan in plan.scans(POSTGRES):
        # Of the two, the extension sends only the first.
        if " IS NULL OR Dynamic Filter" in scan.pushed:
            return False
        for database in databases:
            unlike = database.columns.get(scan.table, ())
            if database.all_text or any(_has(scan.pushed, name) for name in unlike):
                return False
            if joins and not (scan.columns or frozenset()).isdisjoint(unlike):
                return False
    return True


def _has(filters: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", filters) is not None
