"""Flight SQL on pyarrow's server: decode once, then one overridable method per message.

Two ways to use it. A server that executes overrides the methods named after the messages
(``get_flight_info_statement``, ``do_get_tables``, ``begin_transaction`` …); what it does not
override answers NOT_IMPLEMENTED. A server that treats all messages alike, such as a relay,
overrides the ``on_…`` methods, one per RPC, which get the decoded command and the raw bytes.

Every exception that a method raises leaves as an error leaf, without a traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import Internal, InvalidArgument, NotSupported, PondflightError
from pondflight.flightsql import answers, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.answers import PreparedStatement
from pondflight.flightsql.calls import (
    Anonymous,
    Authenticator,
    Call,
    CallMiddleware,
    CallMiddlewareFactory,
    CallTable,
    NoHandshake,
)
from pondflight.flightsql.decoding import decode_action, decode_command, decode_ticket
from pondflight.flightsql.schemas import schema_of
from pondflight.flightsql.status import leaf_of, to_pyarrow
from pondflight.flightsql.streams import Result, to_flight_stream
from pondflight.flightsql.uploads import Upload

log = logging.getLogger(__name__)
T = TypeVar("T")


class FlightSqlServer(flight.FlightServerBase):
    """A Flight SQL server that answers NOT_IMPLEMENTED to everything.

    It listens on ``location`` from the moment it is built. ``calls`` is the table of running
    calls, which also notices clients that go away. ``admit`` raises what a call is refused with
    before anything of it is looked at.
    """

    reads_values = True
    """Whether uploads are checked down to the text in them; a server that only sends them on has
    no need of that."""

    def __init__(
        self,
        location: str,
        *,
        authenticator: Authenticator | None = None,
        admit: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        self.calls = CallTable()
        factory = CallMiddlewareFactory(self.calls, authenticator or Anonymous(), admit)
        super().__init__(
            location, auth_handler=NoHandshake(), middleware={"call": factory}, **options
        )

    def close(self) -> None:
        """Stop listening, wait for running calls, stop the watcher."""
        self.shutdown()
        self.calls.close()

    # -- RPCs, as pyarrow calls them ---------------------------------------------------------

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """GetFlightInfo."""
        return self._run(
            context,
            lambda call: self.on_get_flight_info(call, _command(descriptor), descriptor),
        )

    def get_schema(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.SchemaResult:
        """GetSchema."""
        return self._run(
            context,
            lambda call: flight.SchemaResult(
                self.on_get_schema(call, _command(descriptor), descriptor)
            ),
            in_get_schema=True,
        )

    def do_get(
        self, context: flight.ServerCallContext, ticket: flight.Ticket
    ) -> flight.FlightDataStream:
        """DoGet."""

        def start(call: Call) -> flight.FlightDataStream:
            result = self.on_do_get(call, decode_ticket(ticket.ticket), ticket)
            return to_flight_stream(result, lambda error: self._failed(call, error))

        return self._run(context, start)

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """DoPut."""
        upload = Upload(reader, text=self.reads_values)
        self._run(
            context,
            lambda call: self.on_do_put(call, _command(descriptor), descriptor, upload, writer),
        )

    def do_action(
        self, context: flight.ServerCallContext, action: flight.Action
    ) -> Iterable[bytes]:
        """DoAction."""
        return self._run(
            context,
            lambda call: list(self.on_do_action(call, action.type, action.body.to_pybytes())),
        )

    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        """ListActions."""
        return list(c.ACTIONS.items())

    def list_flights(
        self, context: flight.ServerCallContext, criteria: bytes
    ) -> Iterator[flight.FlightInfo]:
        """ListFlights: Flight SQL has no flights but those that a command makes."""
        return iter(())

    def do_exchange(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """DoExchange: not a part of Flight SQL."""
        self._run(context, lambda _: _unsupported("DoExchange"))

    # -- one method per RPC: decoded, authenticated, watched ----------------------------------

    def on_get_flight_info(
        self, call: Call, command: c.Command, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """GetFlightInfo, by message."""
        if isinstance(command, c.METADATA):
            self._require_override(f"do_get_{command.name}", command)
            return self.metadata_info(command, descriptor)
        return self._method("get_flight_info", command)(call, command, descriptor)

    @staticmethod
    def metadata_info(command: c.Command, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
        """The FlightInfo of a metadata command: a fixed schema, and itself as the ticket."""
        endpoint = flight.FlightEndpoint(flight.Ticket(descriptor.command), [])
        return flight.FlightInfo(schema_of(command), descriptor, [endpoint], -1, -1)

    def on_get_schema(
        self, call: Call, command: c.Command, descriptor: flight.FlightDescriptor
    ) -> pa.Schema:
        """GetSchema, by message."""
        if isinstance(command, c.METADATA):
            return schema_of(command)
        return self._method("get_schema", command)(call, command)

    def on_do_get(self, call: Call, command: c.Command, ticket: flight.Ticket) -> Result:
        """DoGet, by message."""
        result: Result = self._method("do_get", command)(call, command)
        return result

    def on_do_put(
        self,
        call: Call,
        command: c.Command,
        descriptor: flight.FlightDescriptor,
        upload: Upload,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """DoPut, by message. Row counts and new handles go back in the metadata."""
        if isinstance(command, c.PreparedStatementQuery):
            handle = self.do_put_prepared_statement_query(call, command, upload)
            if handle is not None:
                answer = wire.new("DoPutPreparedStatementResult", prepared_statement_handle=handle)
                writer.write(answer.SerializeToString())
            return
        if isinstance(command, c.StatementUpdate):
            count = self.do_put_statement_update(call, command)
        elif isinstance(command, c.PreparedStatementUpdate):
            count = self.do_put_prepared_statement_update(call, command, upload)
        elif isinstance(command, c.StatementIngest):
            count = self.do_put_statement_ingest(call, command, upload)
        elif isinstance(command, c.SubstraitPlan):
            _unsupported("Substrait")
        else:
            raise InvalidArgument(f"{command.message} cannot be sent by DoPut: use GetFlightInfo")
        writer.write(wire.new("DoPutUpdateResult", record_count=count).SerializeToString())

    def on_do_action(self, call: Call, kind: str, body: bytes) -> Iterable[bytes]:
        """DoAction, by message."""
        request = decode_action(kind, body)
        answer = self._answer(call, request)
        return [] if answer is None else [answer]

    def _answer(self, call: Call, request: c.ActionRequest) -> bytes | None:  # noqa: C901, PLR0911, PLR0912  one line per message
        match request:
            case c.CreatePreparedStatement():
                return answers.prepared(self.create_prepared_statement(call, request))
            case c.ClosePreparedStatement():
                self.close_prepared_statement(call, request)
            case c.BeginTransaction():
                transaction = self.begin_transaction(call, request)
                return answers.packed("ActionBeginTransactionResult", transaction_id=transaction)
            case c.EndTransaction():
                self.end_transaction(call, request)
            case c.BeginSavepoint():
                savepoint = self.begin_savepoint(call, request)
                return answers.packed("ActionBeginSavepointResult", savepoint_id=savepoint)
            case c.EndSavepoint():
                self.end_savepoint(call, request)
            case c.CancelQuery():
                return answers.packed("ActionCancelQueryResult", result=self.cancel(call, request))
            case c.CancelFlightInfo():
                return answers.bare("CancelFlightInfoResult", status=self.cancel(call, request))
            case c.RenewFlightEndpoint():
                return self.renew_flight_endpoint(call, request)
            case c.SetSessionOptions():
                return answers.option_errors(self.set_session_options(call, request))
            case c.GetSessionOptions():
                return answers.options(self.get_session_options(call, request))
            case c.CloseSession():
                return answers.bare("CloseSessionResult", status=self.close_session(call, request))
            case c.CreatePreparedSubstraitPlan():
                _unsupported("Substrait")
        return None

    # -- one method per message ---------------------------------------------------------------

    def get_flight_info_statement(
        self, call: Call, command: c.StatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Plan a SQL string; its effects, if it has any, happen here and once."""
        _unsupported(command.message)

    def get_schema_statement(self, call: Call, command: c.StatementQuery) -> pa.Schema:
        """The result schema of a SQL string, without running it."""
        _unsupported(command.message)

    def do_get_statement(self, call: Call, command: c.StatementTicket) -> Result:
        """Return the rows that a FlightInfo promised."""
        _unsupported(command.message)

    def get_flight_info_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Plan a prepared statement with the parameters bound to it."""
        _unsupported(command.message)

    def get_schema_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery
    ) -> pa.Schema:
        """Return the result schema of a prepared statement."""
        _unsupported(command.message)

    def do_put_prepared_statement_query(
        self,
        call: Call,
        command: c.PreparedStatementQuery,
        upload: Upload,
    ) -> bytes | None:
        """Bind parameters; a handle that is to replace the statement's, if there is one."""
        _unsupported(command.message)

    def do_put_prepared_statement_update(
        self,
        call: Call,
        command: c.PreparedStatementUpdate,
        upload: Upload,
    ) -> int:
        """Run a prepared statement once per row; rows affected, or -1 if unknown."""
        _unsupported(command.message)

    def do_put_statement_update(self, call: Call, command: c.StatementUpdate) -> int:
        """Run a SQL string; rows affected, or -1 if unknown."""
        _unsupported(command.message)

    def do_put_statement_ingest(
        self, call: Call, command: c.StatementIngest, upload: Upload
    ) -> int:
        """Load a stream into a table; rows loaded."""
        _unsupported(command.message)

    def do_get_sql_info(self, call: Call, command: c.GetSqlInfo) -> Result:
        """Return rows of ``schemas.SQL_INFO``."""
        _unsupported(command.message)

    def do_get_xdbc_type_info(self, call: Call, command: c.GetXdbcTypeInfo) -> Result:
        """Return rows of ``schemas.XDBC_TYPE_INFO``."""
        _unsupported(command.message)

    def do_get_catalogs(self, call: Call, command: c.GetCatalogs) -> Result:
        """Return rows of ``schemas.CATALOGS``."""
        _unsupported(command.message)

    def do_get_db_schemas(self, call: Call, command: c.GetDbSchemas) -> Result:
        """Return rows of ``schemas.DB_SCHEMAS``."""
        _unsupported(command.message)

    def do_get_tables(self, call: Call, command: c.GetTables) -> Result:
        """Return rows of ``schemas.TABLES``, or of ``TABLES_WITH_SCHEMA``."""
        _unsupported(command.message)

    def do_get_table_types(self, call: Call, command: c.GetTableTypes) -> Result:
        """Return rows of ``schemas.TABLE_TYPES``."""
        _unsupported(command.message)

    def do_get_primary_keys(self, call: Call, command: c.GetPrimaryKeys) -> Result:
        """Return rows of ``schemas.PRIMARY_KEYS``."""
        _unsupported(command.message)

    def do_get_exported_keys(self, call: Call, command: c.GetExportedKeys) -> Result:
        """Return rows of ``schemas.FOREIGN_KEYS``: keys that refer to a table."""
        _unsupported(command.message)

    def do_get_imported_keys(self, call: Call, command: c.GetImportedKeys) -> Result:
        """Return rows of ``schemas.FOREIGN_KEYS``: keys of a table."""
        _unsupported(command.message)

    def do_get_cross_reference(self, call: Call, command: c.GetCrossReference) -> Result:
        """Return rows of ``schemas.FOREIGN_KEYS``: keys from one table to another."""
        _unsupported(command.message)

    def create_prepared_statement(
        self, call: Call, request: c.CreatePreparedStatement
    ) -> PreparedStatement:
        """Prepare a SQL string and return its handle and schemas."""
        _unsupported("CreatePreparedStatement")

    def close_prepared_statement(self, call: Call, request: c.ClosePreparedStatement) -> None:
        """Forget a prepared statement; an unknown handle is no error."""
        _unsupported("ClosePreparedStatement")

    def begin_transaction(self, call: Call, request: c.BeginTransaction) -> bytes:
        """Begin a transaction and return its id."""
        _unsupported("BeginTransaction")

    def end_transaction(self, call: Call, request: c.EndTransaction) -> None:
        """Commit or roll back."""
        _unsupported("EndTransaction")

    def begin_savepoint(self, call: Call, request: c.BeginSavepoint) -> bytes:
        """Set a savepoint and return its id."""
        _unsupported("A savepoint")

    def end_savepoint(self, call: Call, request: c.EndSavepoint) -> None:
        """Release a savepoint, or roll back to it."""
        _unsupported("A savepoint")

    def cancel(self, call: Call, request: c.CancelQuery | c.CancelFlightInfo) -> c.CancelStatus:
        """Cancel the statement behind the tickets of a FlightInfo."""
        _unsupported("CancelFlightInfo")

    def renew_flight_endpoint(self, call: Call, request: c.RenewFlightEndpoint) -> bytes:
        """The endpoint with a later expiration time, as a serialised FlightEndpoint."""
        _unsupported("RenewFlightEndpoint")

    def set_session_options(
        self, call: Call, request: c.SetSessionOptions
    ) -> Mapping[str, c.SessionOptionError]:
        """Set options; the ones that could not be set, and why."""
        _unsupported("SetSessionOptions")

    def get_session_options(
        self, call: Call, request: c.GetSessionOptions
    ) -> Mapping[str, c.SessionOptionValue]:
        """Return all options of the caller's session."""
        _unsupported("GetSessionOptions")

    def close_session(self, call: Call, request: c.CloseSession) -> c.CloseSessionStatus:
        """End the caller's session."""
        _unsupported("CloseSession")

    # -- errors -------------------------------------------------------------------------------

    def _run(
        self,
        context: flight.ServerCallContext,
        handler: Callable[[Call], T],
        *,
        in_get_schema: bool = False,
    ) -> T:
        middleware = context.get_middleware("call")
        assert isinstance(middleware, CallMiddleware)
        call = middleware.call
        self.calls.enter(call, context)
        try:
            self.on_call(call)
            return handler(call)
        except Exception as error:  # noqa: BLE001  whatever it is, no traceback leaves
            leaf = self._failed(call, error)
            raise to_pyarrow(leaf, in_get_schema=in_get_schema) from None

    def on_call(self, call: Call) -> None:
        """Called before each call is handled; subclasses override it."""

    def on_error(self, call: Call, error: PondflightError) -> None:
        """See the error of a call before it is sent; response trailers can still be set."""

    def explain(self, error: PondflightError) -> PondflightError:
        """What the client is told in place of ``error``, for a server that knows what is behind."""
        return error

    def _failed(self, call: Call, error: BaseException) -> PondflightError:
        leaf = leaf_of(error)
        if isinstance(leaf, Internal) and leaf is not error:
            log.error("%s", leaf.message, exc_info=error)
        call.error = leaf = self.explain(leaf)
        self.on_error(call, leaf)
        return leaf

    def _method(self, prefix: str, command: c.Command) -> Any:
        method = getattr(self, f"{prefix}_{command.name}", None)
        if method is None:
            if isinstance(command, c.SubstraitPlan):
                _unsupported("Substrait")
            raise InvalidArgument(f"{command.message} cannot be sent by this RPC: use DoPut")
        return method

    def _require_override(self, name: str, command: c.Command) -> None:
        if getattr(type(self), name) is getattr(FlightSqlServer, name):
            _unsupported(command.message)


def _unsupported(what: str) -> NoReturn:
    raise NotSupported(f"{what} is not supported by this server")


def _command(descriptor: flight.FlightDescriptor) -> c.Command:
    if descriptor.descriptor_type != flight.DescriptorType.CMD:
        raise InvalidArgument(
            "the descriptor has no command: send a Flight SQL command, or SQL text in UTF-8"
        )
    return decode_command(descriptor.command)
