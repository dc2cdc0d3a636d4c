"""Passes a decoded message to the method of a ``Handler`` that answers it; one function per RPC.

A message that belongs to another RPC is ``InvalidArgument``.
"""

from __future__ import annotations

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import InvalidArgument, NotSupported, PondflightError
from pondflight.flightsql import answers, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import Call, Identity
from pondflight.flightsql.handler import Handler, unsupported
from pondflight.flightsql.schemas import schema_of
from pondflight.flightsql.streams import Result
from pondflight.flightsql.uploads import Upload


def get_flight_info(
    handler: Handler[Identity],
    call: Call[Identity],
    command: c.Command,
    descriptor: flight.FlightDescriptor,
) -> flight.FlightInfo:
    """Return where to fetch the result of ``command``."""
    match command:
        case c.StatementQuery():
            return handler.get_flight_info_statement(call, command, descriptor)
        case c.PreparedStatementQuery():
            return handler.get_flight_info_prepared_statement(call, command, descriptor)
    if not isinstance(command, c.METADATA):
        raise _wrong_rpc(command)
    method = f"do_get_{command.name}"
    if getattr(type(handler), method) is getattr(Handler, method):
        unsupported(command.message)
    return metadata_info(command, descriptor)


def metadata_info(command: c.Command, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
    """Return the FlightInfo of a metadata command: a fixed schema, and itself as the ticket."""
    endpoint = flight.FlightEndpoint(flight.Ticket(descriptor.command), [])
    return flight.FlightInfo(schema_of(command), descriptor, [endpoint], -1, -1)


def get_schema(handler: Handler[Identity], call: Call[Identity], command: c.Command) -> pa.Schema:
    """Return the schema of the rows that ``command`` would give."""
    match command:
        case c.StatementQuery():
            return handler.get_schema_statement(call, command)
        case c.PreparedStatementQuery():
            return handler.get_schema_prepared_statement(call, command)
    if isinstance(command, c.METADATA):
        return schema_of(command)
    raise _wrong_rpc(command)


def do_get(  # noqa: C901, PLR0911  one line per message
    handler: Handler[Identity], call: Call[Identity], command: c.Command
) -> Result:
    """Return the rows that a ticket stands for."""
    match command:
        case c.StatementTicket():
            return handler.do_get_statement(call, command)
        case c.GetSqlInfo():
            return handler.do_get_sql_info(call, command)
        case c.GetXdbcTypeInfo():
            return handler.do_get_xdbc_type_info(call, command)
        case c.GetCatalogs():
            return handler.do_get_catalogs(call, command)
        case c.GetDbSchemas():
            return handler.do_get_db_schemas(call, command)
        case c.GetTables():
            return handler.do_get_tables(call, command)
        case c.GetTableTypes():
            return handler.do_get_table_types(call, command)
        case c.GetPrimaryKeys():
            return handler.do_get_primary_keys(call, command)
        case c.GetExportedKeys():
            return handler.do_get_exported_keys(call, command)
        case c.GetImportedKeys():
            return handler.do_get_imported_keys(call, command)
        case c.GetCrossReference():
            return handler.do_get_cross_reference(call, command)
    raise _wrong_rpc(command)


def do_put(
    handler: Handler[Identity],
    call: Call[Identity],
    command: c.Command,
    upload: Upload,
    writer: flight.FlightMetadataWriter,
) -> None:
    """Take the rows of ``upload``; send a row count or a new handle back as metadata."""
    match command:
        case c.PreparedStatementQuery():
            handle = handler.do_put_prepared_statement_query(call, command, upload)
            if handle is not None:
                answer = wire.new("DoPutPreparedStatementResult", prepared_statement_handle=handle)
                writer.write(answer.SerializeToString())
            return
        case c.StatementUpdate():
            count = handler.do_put_statement_update(call, command)
        case c.PreparedStatementUpdate():
            count = handler.do_put_prepared_statement_update(call, command, upload)
        case c.StatementIngest():
            count = handler.do_put_statement_ingest(call, command, upload)
        case c.SubstraitPlan():
            unsupported("Substrait")
        case _:
            raise InvalidArgument(f"{command.message} cannot be sent by DoPut: use GetFlightInfo")
    writer.write(wire.new("DoPutUpdateResult", record_count=count).SerializeToString())


def do_action(  # noqa: C901, PLR0911, PLR0912  one line per message
    handler: Handler[Identity], call: Call[Identity], request: c.ActionRequest
) -> bytes | None:
    """Return the body of an action's one result, or None if it has none."""
    match request:
        case c.CreatePreparedStatement():
            return answers.prepared(handler.create_prepared_statement(call, request))
        case c.ClosePreparedStatement():
            handler.close_prepared_statement(call, request)
        case c.BeginTransaction():
            transaction = handler.begin_transaction(call, request)
            return answers.packed("ActionBeginTransactionResult", transaction_id=transaction)
        case c.EndTransaction():
            handler.end_transaction(call, request)
        case c.BeginSavepoint():
            savepoint = handler.begin_savepoint(call, request)
            return answers.packed("ActionBeginSavepointResult", savepoint_id=savepoint)
        case c.EndSavepoint():
            handler.end_savepoint(call, request)
        case c.CancelQuery():
            return answers.packed("ActionCancelQueryResult", result=handler.cancel(call, request))
        case c.CancelFlightInfo():
            return answers.bare("CancelFlightInfoResult", status=handler.cancel(call, request))
        case c.RenewFlightEndpoint():
            return handler.renew_flight_endpoint(call, request)
        case c.SetSessionOptions():
            return answers.option_errors(handler.set_session_options(call, request))
        case c.GetSessionOptions():
            return answers.options(handler.get_session_options(call, request))
        case c.CloseSession():
            return answers.bare("CloseSessionResult", status=handler.close_session(call, request))
        case c.CreatePreparedSubstraitPlan():
            unsupported("Substrait")
    return None


def _wrong_rpc(command: c.Command) -> PondflightError:
    if isinstance(command, c.SubstraitPlan):
        return NotSupported("Substrait is not supported by this server")
    return InvalidArgument(f"{command.message} cannot be sent by this RPC: use DoPut")
