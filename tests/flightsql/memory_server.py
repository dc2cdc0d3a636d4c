"""A Flight SQL server over a dict of tables: what a stranger would write on the layer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import AlreadyExists, InvalidArgument, NotFound, SqlError
from pondflight.flightsql import (
    Call,
    FlightSqlServer,
    Handler,
    PreparedStatement,
    ResultStream,
    Upload,
    wire,
)
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import Anonymous
from pondflight.flightsql.schemas import (
    CATALOGS,
    DB_SCHEMAS,
    TABLE_TYPES,
    TABLES,
    TABLES_WITH_SCHEMA,
)
from pondflight.flightsql.sqlinfo import Bitmask, sql_info_table
from pondflight.flightsql.streams import Result

Anyone = Call[None]


class MemoryServer(Handler[None], FlightSqlServer[None]):
    """Understands ``SELECT <table>``, ``DELETE <table>``, and a few words that go wrong."""

    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}
        self.prepared: dict[bytes, str] = {}
        self.bound: dict[bytes, pa.Table] = {}
        self.transactions: dict[bytes, dict[str, pa.Table]] = {}
        self.options: dict[str, c.SessionOptionValue] = {}
        self.cancelled: list[tuple[bytes, ...]] = []
        self.seen: list[str] = []
        self.streamed = True
        super().__init__("grpc://127.0.0.1:0", authenticator=Anonymous(), handler=self)

    @property
    def uri(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def _table(self, query: str) -> pa.Table:
        self.seen.append(query)
        verb, _, name = query.partition(" ")
        if verb == "CRASH":
            raise RuntimeError("a secret in /etc/passwd")
        if verb != "SELECT":
            raise SqlError(f"syntax error at {verb!r}")
        if name not in self.tables:
            raise NotFound(f"no table {name!r}")
        return self.tables[name]

    def _info(
        self, query: str, descriptor: flight.FlightDescriptor, rows: int = -1
    ) -> flight.FlightInfo:
        ticket = wire.pack(wire.new("TicketStatementQuery", statement_handle=query.encode()))
        schema = self._table(query).schema
        return flight.FlightInfo(schema, descriptor, [flight.FlightEndpoint(ticket, [])], rows, -1)

    def get_flight_info_statement(
        self, call: Anyone, command: c.StatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        return self._info(command.query, descriptor)

    def get_schema_statement(self, call: Anyone, command: c.StatementQuery) -> pa.Schema:
        return self._table(command.query).schema

    def do_get_statement(self, call: Anyone, command: c.StatementTicket) -> Result:
        table = self._table(command.statement_handle.decode())
        if not self.streamed:
            return table

        def batches() -> Iterator[pa.RecordBatch]:
            yield from table.to_batches()
            if "breaks" in self.tables and table is self.tables["breaks"]:
                raise SqlError("broken half way")

        return ResultStream(table.schema, batches())

    def do_put_statement_update(self, call: Anyone, command: c.StatementUpdate) -> int:
        return self._delete(command.query)

    def _delete(self, query: str) -> int:
        verb, _, name = query.partition(" ")
        if verb != "DELETE":
            raise SqlError(f"syntax error at {verb!r}")
        return int(self.tables.pop(name).num_rows)

    def create_prepared_statement(
        self, call: Anyone, request: c.CreatePreparedStatement
    ) -> PreparedStatement:
        handle = secrets.token_bytes(8)
        self.prepared[handle] = request.query
        is_update = request.query.startswith("DELETE")
        schema = None if is_update else self._table(request.query).schema
        return PreparedStatement(handle, schema, pa.schema([("1", pa.string())]), is_update)

    def close_prepared_statement(self, call: Anyone, request: c.ClosePreparedStatement) -> None:
        self.prepared.pop(request.prepared_statement_handle, None)

    def _prepared(self, handle: bytes) -> str:
        if handle not in self.prepared:
            raise NotFound("unknown handle")
        return self.prepared[handle]

    def get_flight_info_prepared_statement(
        self,
        call: Anyone,
        command: c.PreparedStatementQuery,
        descriptor: flight.FlightDescriptor,
    ) -> flight.FlightInfo:
        return self._info(self._prepared(command.prepared_statement_handle), descriptor)

    def get_schema_prepared_statement(
        self, call: Anyone, command: c.PreparedStatementQuery
    ) -> pa.Schema:
        return self._table(self._prepared(command.prepared_statement_handle)).schema

    def do_put_prepared_statement_query(
        self,
        call: Anyone,
        command: c.PreparedStatementQuery,
        upload: Upload,
    ) -> bytes | None:
        replaced = secrets.token_bytes(8)
        self.prepared[replaced] = self._prepared(command.prepared_statement_handle)
        self.bound[replaced] = upload.read_all()
        return replaced

    def do_put_prepared_statement_update(
        self,
        call: Anyone,
        command: c.PreparedStatementUpdate,
        upload: Upload,
    ) -> int:
        return self._delete(self._prepared(command.prepared_statement_handle))

    def do_put_statement_ingest(
        self, call: Anyone, command: c.StatementIngest, upload: Upload
    ) -> int:
        table = upload.read_all()
        exists = command.table in self.tables
        options = command.table_definition_options
        if exists and options.if_exists == c.TableExists.FAIL:
            raise AlreadyExists(f"{command.table} is there")
        if not exists and options.if_not_exist == c.TableNotExist.FAIL:
            raise NotFound(f"{command.table} is not there")
        if exists and options.if_exists == c.TableExists.APPEND:
            self.tables[command.table] = pa.concat_tables([self.tables[command.table], table])
        else:
            self.tables[command.table] = table
        return int(table.num_rows)

    def begin_transaction(self, call: Anyone, request: c.BeginTransaction) -> bytes:
        transaction = secrets.token_bytes(8)
        self.transactions[transaction] = dict(self.tables)
        return transaction

    def end_transaction(self, call: Anyone, request: c.EndTransaction) -> None:
        before = self.transactions.pop(request.transaction_id)
        if request.action == c.EndTransactionAction.ROLLBACK:
            self.tables = before

    def cancel(self, call: Anyone, request: c.CancelQuery | c.CancelFlightInfo) -> c.CancelStatus:
        self.cancelled.append(request.tickets)
        return c.CancelStatus.CANCELLED

    def renew_flight_endpoint(self, call: Anyone, request: c.RenewFlightEndpoint) -> bytes:
        return request.serialized

    def set_session_options(
        self, call: Anyone, request: c.SetSessionOptions
    ) -> Mapping[str, c.SessionOptionError]:
        errors = {}
        for name, value in request.session_options.items():
            if name == "bad":
                errors[name] = c.SessionOptionError.INVALID_NAME
            else:
                self.options[name] = value
        return errors

    def get_session_options(
        self, call: Anyone, request: c.GetSessionOptions
    ) -> Mapping[str, c.SessionOptionValue]:
        return self.options

    def close_session(self, call: Anyone, request: c.CloseSession) -> c.CloseSessionStatus:
        self.seen.append("CloseSession")
        return c.CloseSessionStatus.CLOSED

    def do_get_sql_info(self, call: Anyone, command: c.GetSqlInfo) -> Result:
        return sql_info_table({0: "memory", 1: "1.0", 2: "26", 8: Bitmask(1)}, command.info)

    def do_get_catalogs(self, call: Anyone, command: c.GetCatalogs) -> Result:
        return pa.table({"catalog_name": ["memory"]}, schema=CATALOGS)

    def do_get_db_schemas(self, call: Anyone, command: c.GetDbSchemas) -> Result:
        return pa.table({"catalog_name": ["memory"], "db_schema_name": ["main"]}, schema=DB_SCHEMAS)

    def do_get_tables(self, call: Anyone, command: c.GetTables) -> Result:
        pattern = command.table_name_filter_pattern
        names = [n for n in sorted(self.tables) if pattern in (None, "%", n)]
        columns: dict[str, list[object]] = {
            "catalog_name": ["memory"] * len(names),
            "db_schema_name": ["main"] * len(names),
            "table_name": list(names),
            "table_type": ["TABLE"] * len(names),
        }
        if not command.include_schema:
            return pa.table(columns, schema=TABLES)
        columns["table_schema"] = [self.tables[n].schema.serialize().to_pybytes() for n in names]
        return pa.table(columns, schema=TABLES_WITH_SCHEMA)

    def do_get_table_types(self, call: Anyone, command: c.GetTableTypes) -> Result:
        if not self.tables:
            raise InvalidArgument("no tables")
        return pa.table({"table_type": ["TABLE"]}, schema=TABLE_TYPES)
