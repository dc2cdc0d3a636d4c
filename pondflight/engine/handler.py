"""Passes each message about statements, transactions and sessions to the part that handles it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pyarrow as pa
from pyarrow import flight

from pondflight import control
from pondflight.engine.databases.attached import Databases
from pondflight.engine.execution.flightinfo import flight_info, promise
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.ingest import Ingest
from pondflight.engine.execution.plans import Prepared
from pondflight.engine.execution.sessions import Sessions
from pondflight.engine.execution.statements import Statements
from pondflight.engine.execution.tickets import Tickets
from pondflight.engine.execution.user_calls import UserCalls
from pondflight.engine.guards.callers import Call
from pondflight.engine.metadata import options
from pondflight.engine.metadata.handler import MetadataHandler
from pondflight.engine.types import parameters
from pondflight.engine.types.describe import Describer
from pondflight.errors import InvalidArgument, NotFound
from pondflight.flightsql import PreparedStatement, Upload, answers
from pondflight.flightsql import commands as c
from pondflight.flightsql.decoding import decode_ticket
from pondflight.flightsql.streams import Result


class EngineHandler(MetadataHandler):
    """Answers all of Flight SQL from one DuckDB."""

    def __init__(
        self,
        *,
        calls: UserCalls,
        sessions: Sessions,
        databases: Databases,
        describer: Describer,
        statements: Statements,
        tickets: Tickets,
        ingest: Ingest,
    ) -> None:
        super().__init__(calls, sessions, databases, describer)
        self._statements = statements
        self._tickets = tickets
        self._ingest = ingest

    def get_flight_info_statement(
        self, call: Call, command: c.StatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Run what has to run at once, and return where to fetch the rows."""
        session = self._calls.enter(call, command.transaction_id)
        plan = self._statements.plan(
            call,
            session,
            command.query,
            None,
            transaction=command.transaction_id,
            plain=command.plain,
        )
        return flight_info(plan, descriptor)

    def get_schema_statement(self, call: Call, command: c.StatementQuery) -> pa.Schema:
        """Return the result schema of a statement without running it."""
        session = self._calls.enter(call, command.transaction_id)
        return self._statements.schema(call, session, command.query)

    def do_get_statement(self, call: Call, command: c.StatementTicket) -> Result:
        """Return the rows of the result that a ticket stands for."""
        if command.statement_handle == control.HAS_RUN:
            return pa.table({})
        handle, session = self._calls.with_ticket(call, command.statement_handle)
        return self._statements.fetch(call, session, handle)

    def do_put_statement_update(self, call: Call, command: c.StatementUpdate) -> int:
        """Run a statement for its effect and return the number of changed rows."""
        session = self._calls.enter(call, command.transaction_id)
        return self._statements.update(call, session, command.query, None)

    # -- prepared statements ------------------------------------------------------------------

    def create_prepared_statement(
        self, call: Call, request: c.CreatePreparedStatement
    ) -> PreparedStatement:
        """Parse and describe a statement; the handle contains everything."""
        return self._prepare(call, request).statement

    def _prepare(self, call: Call, request: c.CreatePreparedStatement) -> Prepared:
        session = self._calls.enter(call, request.transaction_id)
        return self._statements.prepare(call, session, request.query, request.transaction_id)

    def prepare_and_promise(
        self, call: Call, request: c.CreatePreparedStatement
    ) -> Iterator[bytes]:
        """Yield the prepared statement; its FlightInfo and rows, if those can be known already."""
        prepared = self._prepare(call, request)
        yield answers.prepared(prepared.statement)
        if prepared.plan is not None:
            plan = prepared.plan()
            yield promise(prepared.statement, replace(plan, rows=b""))
            if plan.rows:
                yield plan.rows

    def close_prepared_statement(self, call: Call, request: c.ClosePreparedStatement) -> None:
        """Forget large parameters that are kept for the handle."""
        try:
            handle, _ = self._calls.with_handle(call, request.prepared_statement_handle)
        except (NotFound, InvalidArgument):
            return
        self._tickets.unbind(handle.id, handle.session)

    def get_flight_info_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Return the FlightInfo of a prepared query, with the parameters bound to its handle."""
        handle, session = self._calls.with_handle(call, command.prepared_statement_handle)
        bound = self._statements.bound(handle)
        plan = self._statements.plan(
            call, session, handle.query, bound, transaction=handle.transaction
        )
        return flight_info(plan, descriptor)

    def get_schema_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery
    ) -> pa.Schema:
        """Return the result schema of the handle's statement without running it."""
        handle, session = self._calls.with_handle(call, command.prepared_statement_handle)
        bound = self._statements.bound(handle)
        return self._statements.schema(call, session, handle.query, bound)

    def do_put_prepared_statement_query(
        self,
        call: Call,
        command: c.PreparedStatementQuery,
        upload: Upload,
    ) -> bytes | None:
        """Bind parameters to the handle's query."""
        handle, _ = self._calls.with_handle(call, command.prepared_statement_handle)
        bound = parameters.received(call, upload)
        if not bound.num_columns:
            return command.prepared_statement_handle
        return self._statements.bind(handle, bound).encode()

    def do_put_prepared_statement_update(
        self,
        call: Call,
        command: c.PreparedStatementUpdate,
        upload: Upload,
    ) -> int:
        """Run once per row of parameters."""
        handle, session = self._calls.with_handle(call, command.prepared_statement_handle)
        bound = parameters.received(call, upload)
        if not bound.num_columns:
            bound = self._statements.bound(handle)
        return self._statements.update(call, session, handle.query, bound)

    def do_put_statement_ingest(
        self, call: Call, command: c.StatementIngest, upload: Upload
    ) -> int:
        """Load a stream into a table; return the number of rows."""
        session = self._calls.enter(call, command.transaction_id)
        return self._ingest.load(call, session, command, upload)

    # -- transactions and sessions ------------------------------------------------------------

    def begin_transaction(self, call: Call, request: c.BeginTransaction) -> bytes:
        """Begin a transaction in the caller's session, and return its id."""
        return self._sessions.begin(self._calls.enter(call))

    def end_transaction(self, call: Call, request: c.EndTransaction) -> None:
        """Commit or roll back."""
        if request.action == c.EndTransactionAction.UNSPECIFIED:
            raise InvalidArgument("EndTransaction says neither COMMIT nor ROLLBACK")
        commit = request.action == c.EndTransactionAction.COMMIT
        try:
            self._sessions.end(call, request.transaction_id, commit=commit)
        finally:
            self._statements.changed("TRANSACTION")

    def cancel(self, call: Call, request: c.CancelQuery | c.CancelFlightInfo) -> c.CancelStatus:
        """Cancel the statements that the tickets stand for."""
        handles = [_statement_in(ticket) for ticket in request.tickets]
        found = [self._tickets.cancel(handle.id, handle.session) for handle in handles]
        if not found:
            raise InvalidArgument("the FlightInfo has no endpoint: there is nothing to cancel")
        # NOT_CANCELLABLE is the largest of the codes, CANCELLED the smallest.
        return max(found)

    def renew_flight_endpoint(self, call: Call, request: c.RenewFlightEndpoint) -> bytes:
        """Return the endpoint as it is: it never expires; its result becomes the youngest.

        Raises ``NotFound`` if the result is gone.
        """
        if not isinstance(decode_ticket(request.ticket), c.METADATA):
            self._statements.renew(_statement_in(request.ticket))
        return request.serialized

    def set_session_options(
        self, call: Call, request: c.SetSessionOptions
    ) -> Mapping[str, c.SessionOptionError]:
        """Set the catalog, the schema, the statement timeout, and settings of DuckDB."""
        session_id = self._calls.enter(call)
        self._describer.forget_types()
        lent = self._sessions.lent(call, session_id, session_state=True)
        with lent as one, one.cursor.use(call) as cursor:
            longest = self._sessions.limits.statement_timeout
            return options.set_options(cursor, one, request.session_options, longest=longest)

    def get_session_options(
        self, call: Call, request: c.GetSessionOptions
    ) -> Mapping[str, c.SessionOptionValue]:
        """Return all options of the caller's session."""
        session_id = self._calls.enter(call)
        with self._sessions.lent(call, session_id) as one, one.cursor.use(call) as cursor:
            return options.get_options(cursor, self._sessions.timeout_of(session_id))

    def close_session(self, call: Call, request: c.CloseSession) -> c.CloseSessionStatus:
        """End the caller's session."""
        self._sessions.close(call.identity.session)
        return c.CloseSessionStatus.CLOSED


def _statement_in(ticket: bytes) -> Handle:
    command = decode_ticket(ticket)
    if not isinstance(command, c.StatementTicket):
        raise InvalidArgument("only a statement can be cancelled, not a list of metadata")
    return Handle.decode(command.statement_handle)
