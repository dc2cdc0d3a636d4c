"""DuckDB behind Flight SQL: each message to the part that knows it."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from pyarrow import flight

from pondflight import control, dialect, memory
from pondflight.engine.databases.attached import Databases
from pondflight.engine.databases.interrupt import Rescue
from pondflight.engine.databases.pushdown import Pushdown
from pondflight.engine.duck import quote
from pondflight.engine.execution.flightinfo import flight_info, promise
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.ingest import ingest
from pondflight.engine.execution.readonly import Queries
from pondflight.engine.execution.room import MEMORY, Room
from pondflight.engine.execution.sessions import DEFAULT, Sessions
from pondflight.engine.execution.statements import Prepared, Statements
from pondflight.engine.guards.breakdown import Breakdown
from pondflight.engine.guards.callers import CredentialCheck
from pondflight.engine.guards.functions import BuiltIn
from pondflight.engine.guards.journal import Journal
from pondflight.engine.guards.ownership import Ownership
from pondflight.engine.guards.proxies import Proxies
from pondflight.engine.guards.storage import Storage
from pondflight.engine.metadata import keys, options, tables
from pondflight.engine.startup import room, start_up
from pondflight.engine.types import parameters
from pondflight.engine.types.describe import Describer
from pondflight.errors import (
    ConfigError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PondflightError,
    Unavailable,
)
from pondflight.flightsql import Call, FlightSqlServer, PreparedStatement, Upload, answers
from pondflight.flightsql import commands as c
from pondflight.flightsql.decoding import decode_action, decode_ticket
from pondflight.flightsql.sqlinfo import sql_info_table
from pondflight.flightsql.streams import Result
from pondflight.telemetry import tracing

log = logging.getLogger(__name__)
T = TypeVar("T")
SWEEP_SECONDS = 5.0
_QUERY_ONLY = "this call may run a query and nothing else"


class EngineServer(FlightSqlServer):
    """The Flight SQL server of one worker."""

    def __init__(
        self,
        location: str,
        *,
        database: duckdb.DuckDBPyConnection,
        credential_sha256: str,
        scratch: Path,
        storage: Storage | None = None,
        set_aside_memory: int = MEMORY,
        missing_walls: Sequence[str] = (),
    ) -> None:
        self._missing_walls = list(missing_walls)
        self._database = database
        self._scratch = scratch
        self._storage = storage or Storage()
        self.room = Room(scratch, set_aside_memory)
        self._sessions = Sessions(database, self.room)
        self.breakdown = Breakdown(database)
        self._describer = Describer()
        self._databases = Databases(database, scratch)
        self._journal = Journal()
        self._pushdown = Pushdown()
        self._statements = Statements(
            database,
            sessions=self._sessions,
            describer=self._describer,
            databases=self._databases,
            storage=self._storage,
            journal=self._journal,
            pushdown=self._pushdown,
        )
        self._built_in = BuiltIn(database)
        self._queries = Queries(
            self._sessions,
            self._statements,
            self._describer,
            self._journal,
            self._built_in,
            self._databases,
        )
        self._ownership = Ownership()
        self._proxies = Proxies()
        self._check = CredentialCheck(credential_sha256)
        self._last_call = time.monotonic()
        self._stop = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="session-sweep", daemon=True)
        super().__init__(location, authenticator=self._check)
        self._sweeper.start()

    @property
    def last_heard(self) -> float:
        """The monotonic time at which a proxy last made a call."""
        return self._check.last_heard

    def on_call(self, call: Call) -> None:
        """Trace it. A user's call is refused as long as no user is known, and with it no sandbox.

        The pool sends none then, unless this process was started anew behind its back.
        """
        if call.identity.call_id is not None and not self._ownership.owner:
            raise Unavailable(
                "your worker was started anew, and what it held in memory is gone; try again",
                retry_after=1.0,
            )
        if self.breakdown.has_happened:
            raise Unavailable("your worker is being replaced: try again", retry_after=1.0)
        tracing.watch(call)

    def close(self) -> None:
        """Interrupt running statements, and stop."""
        self._stop.set()
        for call in self.calls.running():
            call.cancel(Unavailable("your worker was stopped while this call was running"))
        super().close()
        self._statements.close()
        self._databases.close()
        self._storage.close(self._database)

    # -- calls that may run a query and nothing else -------------------------------------------

    def on_get_flight_info(
        self, call: Call, command: c.Command, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Handle GetFlightInfo for one kind of message."""
        try:
            if not call.identity.query_only or isinstance(command, c.METADATA):
                return super().on_get_flight_info(call, command, descriptor)
            if not isinstance(command, c.StatementQuery):
                raise PermissionDenied(_QUERY_ONLY)
            self._session(call, None)
            return flight_info(self._queries.plan(call, command.query), descriptor)
        except PondflightError as error:
            self._journal.refused(call, _sql_of(command), error)
            raise

    def on_do_get(self, call: Call, command: c.Command, ticket: flight.Ticket) -> Result:
        """Handle DoGet for one kind of message."""
        if not call.identity.query_only or isinstance(command, c.METADATA):
            return super().on_do_get(call, command, ticket)
        if not isinstance(command, c.StatementTicket):
            raise PermissionDenied(_QUERY_ONLY)
        self._session(call, None)
        return self._queries.fetch(call, Handle.decode(command.statement_handle))

    def on_do_put(
        self,
        call: Call,
        command: c.Command,
        descriptor: flight.FlightDescriptor,
        upload: Upload,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """DoPut, by message: none of them is a query."""
        if call.identity.query_only:
            raise PermissionDenied(_QUERY_ONLY)
        super().on_do_put(call, command, descriptor, upload, writer)

    # -- statements ---------------------------------------------------------------------------

    def get_flight_info_statement(
        self, call: Call, command: c.StatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Run what has to run at once; promise the rows."""
        session = self._session(call, command.transaction_id)
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
        session = self._session(call, command.transaction_id)
        return self._statements.schema(call, session, command.query)

    def do_get_statement(self, call: Call, command: c.StatementTicket) -> Result:
        """Return the rows of the result that a ticket stands for."""
        if command.statement_handle == control.HAS_RUN:
            return pa.table({})
        handle, session = self._handle(call, command.statement_handle)
        return self._statements.fetch(call, session, handle)

    def do_put_statement_update(self, call: Call, command: c.StatementUpdate) -> int:
        """Run a statement for its effect and return the number of changed rows."""
        session = self._session(call, command.transaction_id)
        return self._statements.update(call, session, command.query, None)

    # -- prepared statements ------------------------------------------------------------------

    def create_prepared_statement(
        self, call: Call, request: c.CreatePreparedStatement
    ) -> PreparedStatement:
        """Parse and describe a statement; the handle contains everything."""
        return self._prepare(call, request).statement

    def _prepare(self, call: Call, request: c.CreatePreparedStatement) -> Prepared:
        session = self._session(call, request.transaction_id)
        return self._statements.prepare(call, session, request.query, request.transaction_id)

    def _prepare_and_promise(
        self, call: Call, request: c.CreatePreparedStatement
    ) -> Iterator[bytes]:
        """``control.PROMISE_HEADER``."""
        prepared = self._prepare(call, request)
        yield answers.prepared(prepared.statement)
        if prepared.plan is not None:
            yield promise(prepared.statement, prepared.plan())

    def close_prepared_statement(self, call: Call, request: c.ClosePreparedStatement) -> None:
        """Forget large parameters that are kept for the handle."""
        try:
            handle, _ = self._handle(call, request.prepared_statement_handle)
        except (NotFound, InvalidArgument):
            return
        self._statements.unbind(handle)

    def get_flight_info_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """As a statement, with the parameters bound to the handle."""
        handle, session = self._handle(call, command.prepared_statement_handle)
        bound = self._statements.bound(handle)
        plan = self._statements.plan(
            call, session, handle.query, bound, transaction=handle.transaction
        )
        return flight_info(plan, descriptor)

    def get_schema_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery
    ) -> pa.Schema:
        """Return the result schema of the handle's statement without running it."""
        handle, session = self._handle(call, command.prepared_statement_handle)
        bound = self._statements.bound(handle)
        return self._statements.schema(call, session, handle.query, bound)

    def do_put_prepared_statement_query(
        self,
        call: Call,
        command: c.PreparedStatementQuery,
        upload: Upload,
    ) -> bytes | None:
        """Bind parameters to the handle's query."""
        handle, _ = self._handle(call, command.prepared_statement_handle)
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
        handle, session = self._handle(call, command.prepared_statement_handle)
        bound = parameters.received(call, upload)
        if not bound.num_columns:
            bound = self._statements.bound(handle)
        return self._statements.update(call, session, handle.query, bound)

    def do_put_statement_ingest(
        self, call: Call, command: c.StatementIngest, upload: Upload
    ) -> int:
        """Load a stream into a table."""
        session = self._session(call, command.transaction_id)
        with (
            self._storage.writing(call, self._database, adds=True),
            self._journal.during(call, f"INGEST INTO {quote(command.table)}", "INGEST") as entry,
        ):
            servers = self._databases.exact_servers
            total = ingest(self._sessions, self._pushdown, servers, call, session, command, upload)
            entry.rows = lambda: total
            return total

    # -- transactions and sessions ------------------------------------------------------------

    def begin_transaction(self, call: Call, request: c.BeginTransaction) -> bytes:
        """Begin a transaction in the caller's session, and return its id."""
        return self._sessions.begin(self._session(call, None))

    def end_transaction(self, call: Call, request: c.EndTransaction) -> None:
        """Commit or roll back."""
        if request.action == c.EndTransactionAction.UNSPECIFIED:
            raise InvalidArgument("EndTransaction says neither COMMIT nor ROLLBACK")
        commit = request.action == c.EndTransactionAction.COMMIT
        self._sessions.end(call, request.transaction_id, commit=commit)

    def cancel(self, call: Call, request: c.CancelQuery | c.CancelFlightInfo) -> c.CancelStatus:
        """Cancel the statements that the tickets stand for."""
        found = [self._ticket(call, ticket) for ticket in request.tickets]
        if not found:
            raise InvalidArgument("the FlightInfo has no endpoint: there is nothing to cancel")
        # NOT_CANCELLABLE is the largest of the codes, CANCELLED the smallest.
        return max(self._statements.cancel(session, handle) for handle, session in found)

    def renew_flight_endpoint(self, call: Call, request: c.RenewFlightEndpoint) -> bytes:
        """The endpoint as it is, since it has no time to expire; its result becomes the youngest.

        ``NotFound`` if the result is gone.
        """
        if not isinstance(decode_ticket(request.ticket), c.METADATA):
            handle, _ = self._ticket(call, request.ticket)
            self._statements.renew(handle)
        return request.serialized

    def set_session_options(
        self, call: Call, request: c.SetSessionOptions
    ) -> Mapping[str, c.SessionOptionError]:
        """Set the catalog, the schema, the statement timeout, settings of DuckDB."""
        session_id = self._session(call, None)
        self._describer.forget_types()
        lent = self._sessions.lent(call, session_id, session_state=True)
        with lent as one, one.cursor.use(call) as cursor:
            longest = self._sessions.limits.statement_timeout
            return options.set_options(cursor, one, request.session_options, longest=longest)

    def get_session_options(
        self, call: Call, request: c.GetSessionOptions
    ) -> Mapping[str, c.SessionOptionValue]:
        """Return all options of the caller's session."""
        session_id = self._session(call, None)
        with self._sessions.lent(call, session_id) as one, one.cursor.use(call) as cursor:
            return options.get_options(cursor, self._sessions.timeout_of(session_id))

    def close_session(self, call: Call, request: c.CloseSession) -> c.CloseSessionStatus:
        """End the caller's session."""
        self._sessions.close(call.identity.session)
        self._statements.forget(call.identity.session)
        return c.CloseSessionStatus.CLOSED

    # -- metadata -----------------------------------------------------------------------------

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
        """The foreign keys that refer to a table."""
        return self._metadata(
            call, lambda cursor: keys.exported_keys(cursor, command), command.catalog
        )

    def do_get_imported_keys(self, call: Call, command: c.GetImportedKeys) -> Result:
        """Return the foreign keys of a table."""
        return self._metadata(
            call, lambda cursor: keys.imported_keys(cursor, command), command.catalog
        )

    def do_get_cross_reference(self, call: Call, command: c.GetCrossReference) -> Result:
        """The foreign keys of one table that refer to another."""
        return self._metadata(call, lambda cursor: keys.cross_reference(cursor, command))

    def _metadata(
        self,
        call: Call,
        query: Callable[[duckdb.DuckDBPyConnection], T],
        wanted: str | None = None,
    ) -> T:
        """What ``query`` finds; ``wanted`` is the one catalog that it looks into."""
        session = self._session(call, None)
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

    # -- control ------------------------------------------------------------------------------

    def on_do_action(self, call: Call, kind: str, body: bytes) -> Iterable[bytes]:
        """Flight SQL's actions, and those of ``pondflight.control``."""
        if call.identity.query_only:
            raise PermissionDenied(_QUERY_ONLY)
        answer = self._control(kind, body)
        if answer is not None:
            return [_json(answer)]
        if kind == "CreatePreparedStatement" and call.identity.wants_promise:
            request = decode_action(kind, body)
            assert isinstance(request, c.CreatePreparedStatement)
            return self._prepare_and_promise(call, request)
        return super().on_do_action(call, kind, body)

    def _control(self, kind: str, body: bytes) -> dict[str, Any] | None:
        match kind:
            case control.CONFIGURE:
                return self._ownership.configure(json.loads(body), self._configure)
            case control.CANCEL:
                return {"cancelled": self._cancel(body.decode())}
            case control.STATUS:
                return self._status(body.decode())
            case control.STATEMENTS:
                return {"statements": self._journal.show(json.loads(body)["text"])}
            case control.CANCEL_STATEMENT:
                return {"cancelled": self._journal.cancel(json.loads(body)["statement"])}
        return None

    def _configure(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if collector := wanted.get("tracing", {}).get("endpoint"):
            try:
                tracing.configure(collector, "pondflight-worker")
            except ConfigError as error:  # without traces it is as good a worker
                log.warning("%s", error)
        self._storage.limit = wanted.get("storage_limit")
        self._storage.scratch_limit = room(self._scratch, wanted.get("scratch_limit"))
        self._statements.sandbox = start_up(
            self._database,
            self._databases,
            self._sessions,
            self._built_in,
            self._scratch,
            wanted,
        )
        if self._databases.have_servers:
            self._pushdown.watch()
        return {"attached": self._databases.present}

    def _cancel(self, call_id: str) -> bool:
        found = [call for call in self.calls.running() if call.identity.call_id == call_id]
        for call in found:
            call.cancel()
        return bool(found)

    def _status(self, proxy: str) -> dict[str, Any]:
        running = sum(1 for call in self.calls.running() if call.identity.call_id is not None)
        return {
            "owner": self._ownership.owner,
            "running": running,
            "idle_seconds": 0.0 if running else time.monotonic() - self._last_call,
            "sessions": len(self._sessions),
            "rss_bytes": memory.resident(),
            "cpu_seconds": time.process_time(),
            "other_proxies": self._proxies.hear(proxy),
            "missing_walls": self._missing_walls,
        }

    def explain(self, error: PondflightError) -> PondflightError:
        """Which database is away, rather than what DuckDB says of that; or that all is over."""
        return self.breakdown.explain(self._databases.explain(error))

    def _sweep(self) -> None:
        while not self._stop.wait(SWEEP_SECONDS):
            try:
                self._sessions.sweep()
                self._statements.sweep(self._sessions.limits.idle_timeout)
            except Exception:
                log.exception("idle sessions could not be ended")

    # -- who and where ------------------------------------------------------------------------

    def _session(self, call: Call, transaction: bytes | None) -> str:
        self._last_call = time.monotonic()
        call.on_done(self._touch)
        call.on_cancel(Rescue(call, self._databases))
        session: str = call.identity.session
        self._sessions.adopt(session)
        timeout = self._sessions.timeout_of(session)
        if timeout:
            call.limit(timeout)
        return session if transaction is None else self._sessions.session_of(transaction)

    def _ticket(self, call: Call, ticket: bytes) -> tuple[Handle, str]:
        """The handle in a statement's ticket, and the session in which it is looked for."""
        command = decode_ticket(ticket)
        if not isinstance(command, c.StatementTicket):
            raise InvalidArgument("only a statement can be cancelled, not a list of metadata")
        handle = Handle.decode(command.statement_handle)
        session: str = call.identity.session
        if handle.transaction is not None:
            session = self._sessions.session_of(handle.transaction)
        return handle, session

    def _touch(self, _: object) -> None:
        self._last_call = time.monotonic()

    def _handle(self, call: Call, data: bytes) -> tuple[Handle, str]:
        handle = Handle.decode(data)
        session_id = call.identity.session
        try:
            session = self._session(call, handle.transaction)
        except NotFound:
            if not session_id:
                raise
            # Its transaction has ended, but the session goes on.
            handle = replace(handle, transaction=None)
            session = self._session(call, None)
        if handle.transaction is None:
            handle.require_session(session)
            if handle.session == DEFAULT and not self._sessions.exists(session):
                session = DEFAULT  # where it was made: what it needs is there
        return handle, session


def _sql_of(command: c.Command) -> str:
    if isinstance(command, c.StatementQuery):
        return command.query
    if isinstance(command, c.PreparedStatementQuery):
        with contextlib.suppress(PondflightError):
            return Handle.decode(command.prepared_statement_handle).query
    return ""


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()
