"""The interface that answers Flight SQL messages: one method each, unsupported until overridden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, NoReturn

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import NotSupported
from pondflight.flightsql import commands as c
from pondflight.flightsql.answers import PreparedStatement
from pondflight.flightsql.calls import Call, Identity
from pondflight.flightsql.streams import Result
from pondflight.flightsql.uploads import Upload


class Handler(Generic[Identity]):
    """Answers Flight SQL messages. A subclass overrides the methods of those that it supports."""

    def get_flight_info_statement(
        self, call: Call[Identity], command: c.StatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Plan a SQL string; its effects, if it has any, happen here and once."""
        unsupported(command.message)

    def get_schema_statement(self, call: Call[Identity], command: c.StatementQuery) -> pa.Schema:
        """Return the result schema of a SQL string, without running it."""
        unsupported(command.message)

    def do_get_statement(self, call: Call[Identity], command: c.StatementTicket) -> Result:
        """Return the rows that a FlightInfo promised."""
        unsupported(command.message)

    def get_flight_info_prepared_statement(
        self,
        call: Call[Identity],
        command: c.PreparedStatementQuery,
        descriptor: flight.FlightDescriptor,
    ) -> flight.FlightInfo:
        """Plan a prepared statement with the parameters bound to it."""
        unsupported(command.message)

    def get_schema_prepared_statement(
        self, call: Call[Identity], command: c.PreparedStatementQuery
    ) -> pa.Schema:
        """Return the result schema of a prepared statement."""
        unsupported(command.message)

    def do_put_prepared_statement_query(
        self,
        call: Call[Identity],
        command: c.PreparedStatementQuery,
        upload: Upload,
    ) -> bytes | None:
        """Bind parameters; return a handle that replaces the statement's, or None."""
        unsupported(command.message)

    def do_put_prepared_statement_update(
        self,
        call: Call[Identity],
        command: c.PreparedStatementUpdate,
        upload: Upload,
    ) -> int:
        """Run a prepared statement once per row; return the rows affected, or -1 if unknown."""
        unsupported(command.message)

    def do_put_statement_update(self, call: Call[Identity], command: c.StatementUpdate) -> int:
        """Run a SQL string; return the rows affected, or -1 if unknown."""
        unsupported(command.message)

    def do_put_statement_ingest(
        self, call: Call[Identity], command: c.StatementIngest, upload: Upload
    ) -> int:
        """Load a stream into a table; return the number of rows."""
        unsupported(command.message)

    def do_get_sql_info(self, call: Call[Identity], command: c.GetSqlInfo) -> Result:
        """Return rows of ``schemas.SQL_INFO``."""
        unsupported(command.message)

    def do_get_xdbc_type_info(self, call: Call[Identity], command: c.GetXdbcTypeInfo) -> Result:
        """Return rows of ``schemas.XDBC_TYPE_INFO``."""
        unsupported(command.message)

    def do_get_catalogs(self, call: Call[Identity], command: c.GetCatalogs) -> Result:
        """Return rows of ``schemas.CATALOGS``."""
        unsupported(command.message)

    def do_get_db_schemas(self, call: Call[Identity], command: c.GetDbSchemas) -> Result:
        """Return rows of ``schemas.DB_SCHEMAS``."""
        unsupported(command.message)

    def do_get_tables(self, call: Call[Identity], command: c.GetTables) -> Result:
        """Return rows of ``schemas.TABLES``, or of ``TABLES_WITH_SCHEMA``."""
        unsupported(command.message)

    def do_get_table_types(self, call: Call[Identity], command: c.GetTableTypes) -> Result:
        """Return rows of ``schemas.TABLE_TYPES``."""
        unsupported(command.message)

    def do_get_primary_keys(self, call: Call[Identity], command: c.GetPrimaryKeys) -> Result:
        """Return rows of ``schemas.PRIMARY_KEYS``."""
        unsupported(command.message)

    def do_get_exported_keys(self, call: Call[Identity], command: c.GetExportedKeys) -> Result:
        """Return rows of ``schemas.FOREIGN_KEYS``: keys that refer to a table."""
        unsupported(command.message)

    def do_get_imported_keys(self, call: Call[Identity], command: c.GetImportedKeys) -> Result:
        """Return rows of ``schemas.FOREIGN_KEYS``: keys of a table."""
        unsupported(command.message)

    def do_get_cross_reference(self, call: Call[Identity], command: c.GetCrossReference) -> Result:
        """Return rows of ``schemas.FOREIGN_KEYS``: keys from one table to another."""
        unsupported(command.message)

    def create_prepared_statement(
        self, call: Call[Identity], request: c.CreatePreparedStatement
    ) -> PreparedStatement:
        """Prepare a SQL string and return its handle and schemas."""
        unsupported("CreatePreparedStatement")

    def close_prepared_statement(
        self, call: Call[Identity], request: c.ClosePreparedStatement
    ) -> None:
        """Forget a prepared statement; an unknown handle is no error."""
        unsupported("ClosePreparedStatement")

    def begin_transaction(self, call: Call[Identity], request: c.BeginTransaction) -> bytes:
        """Begin a transaction and return its id."""
        unsupported("BeginTransaction")

    def end_transaction(self, call: Call[Identity], request: c.EndTransaction) -> None:
        """Commit or roll back."""
        unsupported("EndTransaction")

    def begin_savepoint(self, call: Call[Identity], request: c.BeginSavepoint) -> bytes:
        """Set a savepoint and return its id."""
        unsupported("A savepoint")

    def end_savepoint(self, call: Call[Identity], request: c.EndSavepoint) -> None:
        """Release a savepoint, or roll back to it."""
        unsupported("A savepoint")

    def cancel(
        self, call: Call[Identity], request: c.CancelQuery | c.CancelFlightInfo
    ) -> c.CancelStatus:
        """Cancel the statement behind the tickets of a FlightInfo."""
        unsupported("CancelFlightInfo")

    def renew_flight_endpoint(self, call: Call[Identity], request: c.RenewFlightEndpoint) -> bytes:
        """Return the endpoint with a later expiration time, as a serialised FlightEndpoint."""
        unsupported("RenewFlightEndpoint")

    def set_session_options(
        self, call: Call[Identity], request: c.SetSessionOptions
    ) -> Mapping[str, c.SessionOptionError]:
        """Set options; return those that could not be set, and why."""
        unsupported("SetSessionOptions")

    def get_session_options(
        self, call: Call[Identity], request: c.GetSessionOptions
    ) -> Mapping[str, c.SessionOptionValue]:
        """Return all options of the caller's session."""
        unsupported("GetSessionOptions")

    def close_session(self, call: Call[Identity], request: c.CloseSession) -> c.CloseSessionStatus:
        """End the caller's session."""
        unsupported("CloseSession")


def unsupported(what: str) -> NoReturn:
    """Raise ``NotSupported`` for ``what``."""
    raise NotSupported(f"{what} is not supported by this server")
