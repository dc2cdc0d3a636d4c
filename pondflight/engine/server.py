"""DuckDB behind Flight SQL: each message to the part that knows it."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from pyarrow import flight

from pondflight import control, dialect, tracing
from pondflight.engine import attach, catalog
from pondflight.engine.describe import Describer
from pondflight.engine.handles import Handle
from pondflight.engine.ingest import ingest
from pondflight.engine.sessions import SessionLimits, Sessions
from pondflight.engine.statements import Plan, Statements
from pondflight.errors import ConfigError, InvalidArgument, NotFound, Unauthenticated
from pondflight.flightsql import Call, FlightSqlServer, PreparedStatement, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import Headers
from pondflight.flightsql.sqlinfo import sql_info_table
from pondflight.flightsql.streams import Result

log = logging.getLogger(__name__)
T = TypeVar("T")
SWEEP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """What the proxy's headers say about a call."""

    session: str
    call_id: str | None


class CredentialCheck:
    """Lets in whoever bears the worker's credential. The worker knows only its SHA-256."""

    def __init__(self, credential_sha256: str) -> None:
        self._digest = credential_sha256.lower().encode()

    def authenticate(self, method: str, headers: Headers) -> WorkerCall:
        """The caller is the pool or the proxy, or is refused."""
        bearer = (headers.get("authorization") or [""])[0]
        scheme, _, credential = bearer.partition(" ")
        digest = hashlib.sha256(credential.encode()).hexdigest().encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self._digest):
            raise Unauthenticated
        session = (headers.get(control.SESSION_HEADER) or [""])[0]
        call_ids = headers.get(control.CALL_HEADER)
        return WorkerCall(session, call_ids[0] if call_ids else None)

    def response_headers(self, method: str, headers: Headers, identity: Any) -> Mapping[str, str]:
        """Nothing to tell."""
        return {}


class EngineServer(FlightSqlServer):
    """The Flight SQL server of one worker."""

    def __init__(
        self,
        location: str,
        *,
        database: duckdb.DuckDBPyConnection,
        credential_sha256: str,
        scratch: Path,
    ) -> None:
        self._database = database
        self._sessions = Sessions(database, scratch)
        self._statements = Statements(database, self._sessions)
        self._describer = Describer()
        self._last_call = time.monotonic()
        self._stop = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="session-sweep", daemon=True)
        super().__init__(location, authenticator=CredentialCheck(credential_sha256))
        self._sweeper.start()

    def on_call(self, call: Call) -> None:
        """Trace it."""
        tracing.watch(call)

    def close(self) -> None:
        """Interrupt what runs and stop."""
        self._stop.set()
        for call in self.calls.running():
            call.cancel()
        super().close()

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
        return _flight_info(plan, descriptor)

    def get_schema_statement(self, call: Call, command: c.StatementQuery) -> pa.Schema:
        """The result schema, without running anything."""
        session = self._session(call, command.transaction_id)
        return self._statements.schema(call, session, command.query)

    def do_get_statement(self, call: Call, command: c.StatementTicket) -> Result:
        """The rows behind a ticket of ours."""
        handle, session = self._handle(call, command.statement_handle)
        return self._statements.fetch(call, session, handle)

    def do_put_statement_update(self, call: Call, command: c.StatementUpdate) -> int:
        """Run for effect."""
        session = self._session(call, command.transaction_id)
        return self._statements.update(call, session, command.query, None)

    # -- prepared statements ------------------------------------------------------------------

    def create_prepared_statement(
        self, call: Call, request: c.CreatePreparedStatement
    ) -> PreparedStatement:
        """Parse and describe; nothing is kept."""
        session = self._session(call, request.transaction_id)
        return self._statements.prepare(call, session, request.query, request.transaction_id)

    def close_prepared_statement(self, call: Call, request: c.ClosePreparedStatement) -> None:
        """Forget large parameters, if there are any."""
        try:
            handle, session = self._handle(call, request.prepared_statement_handle)
        except (NotFound, InvalidArgument):
            return
        self._statements.close(session, handle)

    def get_flight_info_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """As a statement, with the parameters bound to the handle."""
        handle, session = self._handle(call, command.prepared_statement_handle)
        bound = self._statements.bound(session, handle)
        plan = self._statements.plan(
            call, session, handle.query, bound, transaction=handle.transaction
        )
        return _flight_info(plan, descriptor)

    def get_schema_prepared_statement(
        self, call: Call, command: c.PreparedStatementQuery
    ) -> pa.Schema:
        """The result schema, without running anything."""
        handle, session = self._handle(call, command.prepared_statement_handle)
        bound = self._statements.bound(session, handle)
        return self._statements.schema(call, session, handle.query, bound)

    def do_put_prepared_statement_query(
        self,
        call: Call,
        command: c.PreparedStatementQuery,
        reader: flight.MetadataRecordBatchReader,
    ) -> bytes | None:
        """Bind parameters."""
        handle, session = self._handle(call, command.prepared_statement_handle)
        return self._statements.bind(session, handle, _parameters(call, reader)).encode()

    def do_put_prepared_statement_update(
        self,
        call: Call,
        command: c.PreparedStatementUpdate,
        reader: flight.MetadataRecordBatchReader,
    ) -> int:
        """Run once per row of parameters."""
        handle, session = self._handle(call, command.prepared_statement_handle)
        bound = _parameters(call, reader)
        if not bound.num_columns:
            bound = self._statements.bound(session, handle)
        return self._statements.update(call, session, handle.query, bound)

    def do_put_statement_ingest(
        self, call: Call, command: c.StatementIngest, reader: flight.MetadataRecordBatchReader
    ) -> int:
        """Load a stream into a table."""
        session = self._session(call, command.transaction_id)
        return ingest(self._sessions, call, session, command, reader)

    # -- transactions and sessions ------------------------------------------------------------

    def begin_transaction(self, call: Call, request: c.BeginTransaction) -> bytes:
        """Begin, in the caller's session."""
        return self._sessions.begin(call, self._session(call, None))

    def end_transaction(self, call: Call, request: c.EndTransaction) -> None:
        """Commit or roll back."""
        if request.action == c.EndTransactionAction.UNSPECIFIED:
            raise InvalidArgument("EndTransaction says neither COMMIT nor ROLLBACK")
        commit = request.action == c.EndTransactionAction.COMMIT
        self._sessions.end(call, request.transaction_id, commit=commit)

    def close_session(self, call: Call, request: c.CloseSession) -> c.CloseSessionStatus:
        """End the caller's session."""
        self._sessions.close(call.identity.session)
        self._statements.forget(call.identity.session)
        return c.CloseSessionStatus.CLOSED

    # -- metadata -----------------------------------------------------------------------------

    def do_get_sql_info(self, call: Call, command: c.GetSqlInfo) -> Result:
        """What this server can do."""
        return sql_info_table(dialect.SQL_INFO, command.info)

    def do_get_catalogs(self, call: Call, command: c.GetCatalogs) -> Result:
        """The catalogs."""
        return self._metadata(call, catalog.catalogs)

    def do_get_db_schemas(self, call: Call, command: c.GetDbSchemas) -> Result:
        """The schemas."""
        return self._metadata(call, lambda cursor: catalog.db_schemas(cursor, command))

    def do_get_tables(self, call: Call, command: c.GetTables) -> Result:
        """The tables and views."""
        return self._metadata(call, lambda cursor: catalog.tables(cursor, self._describer, command))

    def do_get_table_types(self, call: Call, command: c.GetTableTypes) -> Result:
        """The kinds of table."""
        return catalog.table_types()

    def _metadata(self, call: Call, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        session = self._session(call, None)
        with self._sessions.borrow(call, session) as lane, lane.use(call) as cursor:
            return query(cursor)

    # -- control ------------------------------------------------------------------------------

    def on_do_action(self, call: Call, kind: str, body: bytes) -> Iterable[bytes]:
        """Flight SQL's actions, and those of ``pondflight.control``."""
        match kind:
            case control.CONFIGURE:
                return [_json(self._configure(json.loads(body)))]
            case control.CANCEL:
                return [_json({"cancelled": self._cancel(body.decode())})]
            case control.STATUS:
                return [_json(self._status())]
        return super().on_do_action(call, kind, body)

    def _configure(self, wanted: dict[str, Any]) -> dict[str, Any]:
        for name in wanted.get("extensions", []):
            attach.load_extension(self._database, name)
        attached = []
        for entry in wanted.get("databases", []):
            database = attach.AttachedDatabase(**entry)
            attach.attach(self._database, database)
            attached.append(database.alias)
        limits = wanted.get("sessions")
        if limits:
            self._sessions.limits = SessionLimits(**limits)
        if collector := wanted.get("tracing", {}).get("endpoint"):
            try:
                tracing.configure(collector, "pondflight-worker")
            except ConfigError as error:  # without traces it is as good a worker
                log.warning("%s", error)
        return {"attached": attached}

    def _cancel(self, call_id: str) -> bool:
        found = [call for call in self.calls.running() if call.identity.call_id == call_id]
        for call in found:
            call.cancel()
        return bool(found)

    def _status(self) -> dict[str, Any]:
        running = sum(1 for call in self.calls.running() if call.identity.call_id is not None)
        return {
            "running": running,
            "idle_seconds": 0.0 if running else time.monotonic() - self._last_call,
            "sessions": len(self._sessions),
            "rss_bytes": _rss(),
        }

    def _sweep(self) -> None:
        while not self._stop.wait(SWEEP_SECONDS):
            self._sessions.sweep()

    # -- who and where ------------------------------------------------------------------------

    def _session(self, call: Call, transaction: bytes | None) -> str:
        self._last_call = time.monotonic()
        call.on_done(self._touch)
        if transaction is not None:
            return self._sessions.session_of(transaction)
        session: str = call.identity.session
        return session

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
        return handle, session


def _flight_info(plan: Plan, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
    endpoints = []
    if plan.ticket is not None:
        ticket = wire.new("TicketStatementQuery", statement_handle=plan.ticket.encode())
        endpoints.append(flight.FlightEndpoint(wire.pack(ticket), []))
    return flight.FlightInfo(plan.schema, descriptor, endpoints, plan.total_records, -1)


def _parameters(call: Call, reader: flight.MetadataRecordBatchReader) -> pa.Table:
    batches = [chunk.data for chunk in reader if chunk.data is not None]
    if not call.still_connected():
        call.raise_if_cancelled()
    return pa.Table.from_batches(batches, reader.schema)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _rss() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096
