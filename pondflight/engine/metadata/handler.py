"""What clients ask of the catalog and the server, with Flight SQL's fixed schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import duckdb

from pondflight import dialect
from pondflight.engine.databases.attached import Databases
from pondflight.engine.execution.sessions import Sessions
from pondflight.engine.execution.user_calls import UserCalls
from pondflight.engine.guards.callers import Call, WorkerCall
from pondflight.engine.metadata import keys, tables
from pondflight.engine.types.describe import Describer
from pondflight.errors import PondflightError
from pondflight.flightsql import Handler
from pondflight.flightsql import commands as c
from pondflight.flightsql.sqlinfo import sql_info_table
from pondflight.flightsql.streams import Result

T = TypeVar("T")


class MetadataHandler(Handler[WorkerCall]):
    """Answers the metadata commands."""

    def __init__(
        self,
        calls: UserCalls,
        sessions: Sessions,
        databases: Databases,
        describer: Describer,
    ) -> None:
        self._calls = calls
        self._sessions = sessions
        self._databases = databases
        self._describer = describer

    def do_get_sql_info(self, call: Call, command: c.GetSqlInfo) -> Result:
        """Return what this server supports."""
        return sql_info_table(dialect.SQL_INFO, command.info)

    def do_get_catalogs(self, call: Call, command: c.GetCatalogs) -> Result:
        """Return the catalogs."""
        return self._metadata(call, tables.catalogs)

    def do_get_db_schemas(self, call: Call, command: c.GetDbSchemas) -> Result:
        """Return the schemas."""
        return self._metadata(
            call, lambda cursor: tables.db_schemas(cursor, command), command.catalog
        )

    def do_get_tables(self, call: Call, command: c.GetTables) -> Result:
        """Return the tables and views."""
        return self._metadata(
            call,
            lambda cursor: tables.tables(
                cursor, self._describer, command, self._databases.stand_ins
            ),
            command.catalog,
        )

    def do_get_table_types(self, call: Call, command: c.GetTableTypes) -> Result:
        """Return the table types."""
        return dialect.table_types()

    def do_get_xdbc_type_info(self, call: Call, command: c.GetXdbcTypeInfo) -> Result:
        """Return the types in ODBC's terms."""
        return dialect.xdbc_type_info(command.data_type)

    def do_get_primary_keys(self, call: Call, command: c.GetPrimaryKeys) -> Result:
        """Return the primary key of a table."""
        of_sqlite = self._databases.of_sqlite
        return self._metadata(
            call, lambda cursor: keys.primary_keys(cursor, command, of_sqlite), command.catalog
        )

    def do_get_exported_keys(self, call: Call, command: c.GetExportedKeys) -> Result:
        """Return the foreign keys that refer to a table."""
        return self._metadata(
            call, lambda cursor: keys.exported_keys(cursor, command), command.catalog
        )

    def do_get_imported_keys(self, call: Call, command: c.GetImportedKeys) -> Result:
        """Return the foreign keys of a table."""
        return self._metadata(
            call, lambda cursor: keys.imported_keys(cursor, command), command.catalog
        )

    def do_get_cross_reference(self, call: Call, command: c.GetCrossReference) -> Result:
        """Return the foreign keys of one table that refer to another."""
        return self._metadata(call, lambda cursor: keys.cross_reference(cursor, command))

    def _metadata(
        self,
        call: Call,
        query: Callable[[duckdb.DuckDBPyConnection], T],
        wanted: str | None = None,
    ) -> T:
        """Return what ``query`` finds; ``wanted`` is the one catalog that it reads."""
        session = self._calls.enter(call)
        self._databases.require(wanted)

        def run() -> T:
            with self._sessions.lent(call, session) as one, one.cursor.use(call) as cursor:
                return query(cursor)

        try:
            return run()
        except PondflightError as error:
            if not self._databases.gave_way(error):
                raise
        return run()
