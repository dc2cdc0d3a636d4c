"""What the servers are asked to do of a statement, so that its rows are the same as without.

MySQL is asked for whole tables, unless ``narrowing`` finds that a query needs less of one; what may
be written there says ``changes``. PostgreSQL is sent the filters that DuckDB makes, unless a plan
shows one that means something else there; then it, too, is asked for whole tables.
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
"""How a cursor is left for whatever runs on it next."""

_LOOKED_AT = PLANNED | {"ALTER", "COPY_DATABASE"}


class Pushdown:
    """Decides for each statement of one worker. Until ``watch`` it leaves all as it is."""

    def __init__(self) -> None:
        self.watches = False
        """Whether there are servers."""
        columns = MysqlColumns()
        self._narrowing = Narrowing(columns)
        self._changes = Changes(columns)
        self._types = PostgresTypes()

    def watch(self) -> None:
        """There are servers: look at each statement from now on."""
        self.watches = True

    def concerns(self, statement: Statement) -> bool:
        """Whether ``begin`` has anything to do."""
        return self.watches and statement.effect in _LOOKED_AT

    def check(
        self, cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
    ) -> None:
        """Raises ``NotSupported`` for a change that MySQL would take for another one."""
        self._changes.check(cursor, statement, values)

    def begin(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        plan: QueryPlan,
        *,
        in_transaction: bool,
    ) -> str:
        """What to run in place of ``statement.text``, maybe that; ``cursor`` is made ready for it.

        Whatever comes of it, ``OFF`` has to be run before anything else runs on ``cursor``. What is
        another text may fail to be bound: run the statement's own then.
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
        """Raises ``NotSupported`` if rows cannot be written safely to the database ``catalog``."""
        if self.watches:
            self._changes.check_insert(cursor, catalog, columns)


def _alike(plan: QueryPlan, databases: list[Unlike]) -> bool:
    """Whether PostgreSQL means by the filters of a plan what DuckDB does.

    A filter has the name of its column in it. Those that a join makes while it runs are in no plan:
    they may be on any column that is read.
    """
    joins = any("JOIN" in node["name"] for node in plan.nodes())
    for scan in plan.scans(POSTGRES):
        # Of the two, the extension sends the first only.
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
