"""The server of one worker: who may call what, the control channel, and the sweep of sessions."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
from pyarrow import flight

from pondflight import control, memory
from pondflight.control import Json
from pondflight.engine.databases.attached import Databases
from pondflight.engine.databases.pushdown import Pushdown
from pondflight.engine.execution.early_runs import EarlyRuns
from pondflight.engine.execution.executor import Executor
from pondflight.engine.execution.flightinfo import flight_info
from pondflight.engine.execution.handles import Handle
from pondflight.engine.execution.ingest import Ingest
from pondflight.engine.execution.plans import EMPTY_SCHEMA
from pondflight.engine.execution.readonly import Queries
from pondflight.engine.execution.room import MEMORY, Room
from pondflight.engine.execution.sessions import Sessions
from pondflight.engine.execution.statements import Statements
from pondflight.engine.execution.tickets import Tickets
from pondflight.engine.execution.user_calls import UserCalls
from pondflight.engine.guards.breakdown import Breakdown
from pondflight.engine.guards.callers import Call, CredentialCheck, WorkerCall
from pondflight.engine.guards.door import Door
from pondflight.engine.guards.functions import BuiltIn
from pondflight.engine.guards.journal import Journal
from pondflight.engine.guards.ownership import Ownership
from pondflight.engine.guards.proxies import Proxies
from pondflight.engine.guards.storage import Storage
from pondflight.engine.handler import EngineHandler
from pondflight.engine.startup import room, start_up
from pondflight.engine.types.describe import Describer
from pondflight.errors import (
    ConfigError,
    PermissionDenied,
    PondflightError,
    Unavailable,
)
from pondflight.flightsql import FlightSqlServer, Upload, dispatch
from pondflight.flightsql import commands as c
from pondflight.flightsql.decoding import decode_action, decode_ticket
from pondflight.flightsql.server import command_of
from pondflight.flightsql.streams import Result
from pondflight.telemetry import tracing

log = logging.getLogger(__name__)
SWEEP_SECONDS = 5.0
_NOTHING = flight.FlightDescriptor.for_command(b"")
_QUERY_ONLY = "this call may only run a query"


class EngineServer(FlightSqlServer[WorkerCall]):
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
        self._tickets = Tickets()
        self._sessions = Sessions(
            database, self.room, self._tickets.forget, in_memory=self._storage.file is None
        )
        self.breakdown = Breakdown(database)
        self._databases = Databases(database, scratch)
        self._user_calls = UserCalls(self._sessions, self._databases, self._tickets)
        self._journal = Journal()
        self._door = Door()
        self._pushdown = Pushdown()
        describer = Describer()
        executor = Executor(
            database, describer=describer, databases=self._databases, pushdown=self._pushdown
        )
        self._statements = Statements(
            database,
            sessions=self._sessions,
            describer=describer,
            databases=self._databases,
            storage=self._storage,
            journal=self._journal,
            executor=executor,
            tickets=self._tickets,
            early=EarlyRuns(database, executor, self._door.promise),
        )
        self._built_in = BuiltIn(database)
        self._queries = Queries(
            self._sessions,
            self._statements,
            executor,
            describer,
            self._journal,
            self._built_in,
            self._databases,
        )
        self._handler = EngineHandler(
            calls=self._user_calls,
            sessions=self._sessions,
            databases=self._databases,
            describer=describer,
            statements=self._statements,
            tickets=self._tickets,
            ingest=Ingest(
                database,
                sessions=self._sessions,
                databases=self._databases,
                storage=self._storage,
                journal=self._journal,
                pushdown=self._pushdown,
            ),
        )
        self._ownership = Ownership()
        self._proxies = Proxies()
        self._check = CredentialCheck(credential_sha256)
        self._stop = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="session-sweep", daemon=True)
        super().__init__(location, authenticator=self._check, handler=self._handler)
        self._sweeper.start()

    @property
    def last_heard(self) -> float:
        """Return the monotonic time at which a proxy last made a call."""
        return self._check.last_heard

    def on_call(self, call: Call) -> None:
        """Trace the call, and refuse a user's call until a user, and with it a sandbox, is known.

        The pool sends no such calls then, unless this process was restarted behind its back.
        """
        for key in call.identity.fetched:
            self._statements.fetched(key)
        if call.identity.call_id is not None and not self._ownership.owner:
            raise Unavailable(
                "your worker was started anew, and what it held in memory is gone; try again",
                retry_after=1.0,
            )
        if self.breakdown.has_happened:
            raise Unavailable("your worker is being replaced: try again", retry_after=1.0)
        if call.identity.call_id is not None:
            self._door.enter(call)
        tracing.watch(call)

    def close(self) -> None:
        """Interrupt running statements, and stop."""
        self._stop.set()
        for call in self.calls.running():
            call.cancel(Unavailable("your worker was stopped while this call was running"))
        super().close()
        self._tickets.clear()
        self._databases.close()
        self._storage.close(self._database)

    # -- calls that may only run a query -------------------------------------------

    def on_get_flight_info(
        self, call: Call, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Return where to fetch a result; a refused statement goes into the journal."""
        if call.identity.action is not None:
            bodies = self.on_do_action(call, call.identity.action, descriptor.command)
            endpoints = [flight.FlightEndpoint(body, []) for body in bodies]
            return flight.FlightInfo(EMPTY_SCHEMA, _NOTHING, endpoints, -1, -1)
        command = command_of(descriptor)
        try:
            if not call.identity.query_only or isinstance(command, c.METADATA):
                return dispatch.get_flight_info(self._handler, call, command, descriptor)
            if not isinstance(command, c.StatementQuery):
                raise PermissionDenied(_QUERY_ONLY)
            self._user_calls.enter(call)
            return flight_info(self._queries.plan(call, command.query), descriptor)
        except PondflightError as error:
            self._journal.refused(call, _sql_of(command), error)
            raise

    def on_do_get(self, call: Call, ticket: flight.Ticket) -> Result:
        """Return the rows that a ticket stands for."""
        command = decode_ticket(ticket.ticket)
        if not call.identity.query_only or isinstance(command, c.METADATA):
            return dispatch.do_get(self._handler, call, command)
        if not isinstance(command, c.StatementTicket):
            raise PermissionDenied(_QUERY_ONLY)
        self._user_calls.enter(call)
        return self._queries.fetch(call, Handle.decode(command.statement_handle))

    def on_do_put(
        self,
        call: Call,
        command: c.Command,
        descriptor: flight.FlightDescriptor,
        upload: Upload,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Take an upload. No message that comes by DoPut is a query."""
        if call.identity.query_only:
            raise PermissionDenied(_QUERY_ONLY)
        dispatch.do_put(self._handler, call, command, upload, writer)

    # -- control ------------------------------------------------------------------------------

    def on_do_action(self, call: Call, kind: str, body: bytes) -> Iterable[bytes]:
        """Answer Flight SQL's actions, and those of ``pondflight.control``."""
        if call.identity.query_only:
            raise PermissionDenied(_QUERY_ONLY)
        controlled = self._control(kind, body)
        if controlled is not None:
            return [json.dumps(controlled).encode()]
        request = decode_action(kind, body)
        if isinstance(request, c.CreatePreparedStatement) and call.identity.wants_promise:
            return self._handler.prepare_and_promise(call, request)
        answer = dispatch.do_action(self._handler, call, request)
        return [] if answer is None else [answer]

    def _control(  # noqa: PLR0911  one for each action
        self, kind: str, body: bytes
    ) -> Json | None:
        match kind:
            case control.CONFIGURE:
                return self._ownership.configure(json.loads(body), self._configure)
            case control.CANCEL:
                return {"cancelled": self._cancel(body.decode())}
            case control.STATUS:
                return self._status(body.decode())
            case control.RETIRE:
                return {"retired": self._door.close(float(json.loads(body)["quiet"]))}
            case control.STATEMENTS:
                return {"statements": self._journal.show(json.loads(body)["text"])}
            case control.CANCEL_STATEMENT:
                return {"cancelled": self._journal.cancel(json.loads(body)["statement"])}
        return None

    def _configure(self, wanted: Json) -> Json:
        if collector := wanted.get("tracing", {}).get("endpoint"):
            try:
                tracing.configure(collector, "pondflight-worker")
            except ConfigError as error:  # a worker without traces is as good
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
        if self._databases.find_servers():
            self._pushdown.watch()
        return {"attached": self._databases.present}

    def _cancel(self, call_id: str) -> bool:
        found = [call for call in self.calls.running() if call.identity.call_id == call_id]
        for call in found:
            call.cancel()
        return bool(found)

    def _status(self, proxy: str) -> Json:
        running = sum(1 for call in self.calls.running() if call.identity.call_id is not None)
        return {
            "owner": self._ownership.owner,
            "promised": self._ownership.is_promised,
            "running": running,
            "idle_seconds": 0.0 if running else self._user_calls.idle_seconds,
            "sessions": len(self._sessions),
            "rss_bytes": memory.resident(),
            "cpu_seconds": time.process_time(),
            "other_proxies": self._proxies.hear(proxy),
            "missing_walls": self._missing_walls,
            "retired": self._door.closed,
            "fresh": self._ownership.fresh,
            "takes_actions": True,
        }

    def explain(self, error: PondflightError) -> PondflightError:
        """Return the error to report: which database is away, or that DuckDB cannot go on."""
        return self.breakdown.explain(self._databases.explain(error))

    def _sweep(self) -> None:
        while not self._stop.wait(SWEEP_SECONDS):
            try:
                self._sessions.sweep()
                self._tickets.sweep(self._sessions.limits.idle_timeout)
            except Exception:
                log.exception("idle sessions could not be ended")


def _sql_of(command: c.Command) -> str:
    if isinstance(command, c.StatementQuery):
        return command.query
    if isinstance(command, c.PreparedStatementQuery):
        with contextlib.suppress(PondflightError):
            return Handle.decode(command.prepared_statement_handle).query
    return ""
