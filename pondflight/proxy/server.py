"""The public Flight SQL address: every RPC authenticated, and relayed to the caller's worker.

Whatever is the same for everyone is answered here, without a worker: a client whose first call is
for SqlInfo must not lose its transactions to a slow start.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
from pyarrow import flight

from pondflight import control, dialect
from pondflight.auth.tokens import Tokens
from pondflight.control import Json
from pondflight.errors import (
    NotFound,
    NotSupported,
    PermissionDenied,
    PondflightError,
    Unavailable,
)
from pondflight.flightsql import FlightSqlServer, Upload, dispatch, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.decoding import decode_action, decode_ticket
from pondflight.flightsql.schemas import schema_of
from pondflight.flightsql.server import command_of
from pondflight.flightsql.sqlinfo import sql_info_table
from pondflight.flightsql.streams import Result
from pondflight.limits.headroom import Headroom
from pondflight.limits.statements import count, count_handle
from pondflight.proxy import statement_metrics as meter
from pondflight.proxy.administration import ACTIONS, Administration
from pondflight.proxy.callers import Call, Caller, CallerCheck
from pondflight.proxy.changes import Changes
from pondflight.proxy.databases import NO_DATABASES, Databases
from pondflight.proxy.early_infos import Change, Promises
from pondflight.proxy.in_flight import CallLimits, InFlight
from pondflight.proxy.rate_limits import FREE, Charges
from pondflight.proxy.relay import Relay
from pondflight.telemetry import metrics, tracing
from pondflight.tls import Certificate
from pondflight.workers.pool import Pool

_ENDING: dict[str, list[bytes] | None] = {
    "CloseSession": [
        wire.new("CloseSessionResult", status=c.CloseSessionStatus.CLOSED).SerializeToString()
    ],
    "EndTransaction": None,
    "CancelQuery": None,
    "CancelFlightInfo": None,
    "RenewFlightEndpoint": None,
}
"""Actions that only end what a worker holds, and their answers without a worker; None: NotFound.

They need not start one, and are answered while the server is shutting down.
"""

_HAS_RUN = wire.pack(wire.new("TicketStatementQuery", statement_handle=control.HAS_RUN))

_LIMITS = CallLimits()
_PROMISE = {control.PROMISE_HEADER: "1"}


class ProxyServer(FlightSqlServer[Caller]):
    """A Flight SQL server that relays each call to its user's worker."""

    reads_values = False

    def __init__(  # noqa: PLR0913  the parts that it is made of
        self,
        location: str,
        *,
        pool: Pool,
        tokens: Tokens,
        charges: Charges = FREE,
        databases: Databases = NO_DATABASES,
        demo_seconds: float | None = None,
        certificate: Certificate | None = None,
        headroom: Headroom | None = None,
        call_limits: CallLimits = _LIMITS,
        changes: Changes | None = None,
        siblings: Callable[[], Sequence[metrics.Share]] = tuple,
    ) -> None:
        self._in_flight = InFlight(call_limits)
        self._pool = pool
        self._relay = Relay(pool)
        self._promises = Promises(changes)
        self._administration = Administration(pool)
        self._charges = charges
        self._databases = databases
        self._demo_seconds = demo_seconds
        self._started = time.monotonic()
        self._siblings = siblings
        self._gauges = metrics.Gauges(pool.counts, lambda: [self.share(), *siblings()])
        self.draining = False
        options: Json = {}
        if certificate is not None:
            options["tls_certificates"] = [(certificate.chain, certificate.key)]
        headroom = headroom or Headroom()
        super().__init__(
            location,
            authenticator=CallerCheck(tokens),
            admit=headroom.require,
            **options,
        )

    def close(self) -> None:
        """Stop listening, and wait for running calls."""
        super().close()
        self._relay.close()
        self._administration.close()
        self._databases.close()

    @property
    def unfinished(self) -> int:
        """Return how many calls a shutdown waits for, including those about to fetch rows."""
        running = sum(call.cancelled is None for call in self.calls.running())
        return running + self._in_flight.awaited

    def share(self) -> metrics.Share:
        """Return this process's part of the figures where several serve one port."""
        stats, counts = self._pool.stats(), self._pool.counts()
        return metrics.Share(
            queued=counts["queued"],
            calls=meter.by_rpc(self.calls.running()),
            started=stats["total_spawned"],
            stopped=stats["total_stopped"],
            users=self._pool.users,
            ready=self._pool.ready and not self.draining,
            shared=self._pool.shared,
        )

    def on_call(self, call: Call) -> None:
        """Trace the call, and apply the limits: of calls at a time, of idleness, of demo users."""
        tracing.watch(call)
        self._in_flight.enter(call)
        if self._demo_seconds is not None and call.identity.identity.demo:
            call.limit(self._demo_seconds)

    def on_quiet(self) -> None:
        """Give back the memory of streams that have ended."""
        self._relay.tidy()

    def on_error(self, call: Call, error: PondflightError) -> None:
        """Add the trailer ``retry-after`` if the error says when to retry."""
        if isinstance(error, Unavailable) and error.retry_after is not None and call.context:
            call.context.add_trailer("retry-after", str(math.ceil(error.retry_after)))

    def on_get_flight_info(
        self, call: Call, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Return the FlightInfo: of metadata from here, of statements from the worker.

        Only the rows of metadata need the worker.
        """
        self._refuse_if_draining()
        info = self._promised(call, descriptor) or self._info(call, descriptor)
        for endpoint in info.endpoints:
            self._in_flight.promised(endpoint.ticket.ticket)
        return info

    def _promised(
        self, call: Call, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo | None:
        """Return the FlightInfo of a query that was just prepared, if its worker has sent it."""
        if _is_query_only(call):
            return None
        command = descriptor.command or b""
        info = self._promises.take(self._relay.key(call), call.identity.session, command)
        if info is None:
            return None
        statement = meter.Statement(call, c.PreparedStatementQuery)
        self._charges.run(call)
        return self._told(call, statement, info)

    def _info(self, call: Call, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
        command = command_of(descriptor)
        if isinstance(command, c.METADATA):
            self._pool.prestart(call.identity.user)
            return dispatch.metadata_info(command, descriptor)
        statement = meter.Statement(call, type(command))
        self._pay(call, command)
        with self._changing(call) as change:
            info = change.answered(
                self._relay.unary(
                    call,
                    lambda client, options: client.get_flight_info(descriptor, options),
                    _PROMISE,
                )
            )
        return self._told(call, statement, info)

    def _told(
        self, call: Call, statement: meter.Statement, info: flight.FlightInfo
    ) -> flight.FlightInfo:
        """Return ``info``, which the client gets for a statement; note its tickets as paid."""
        tickets = [endpoint.ticket.ticket for endpoint in info.endpoints]
        if tickets == [_HAS_RUN]:
            tickets = []
        self._charges.promised(call, tickets)
        statement.has_run(rows_to_come=bool(tickets))
        return info

    def _pay(self, call: Call, command: c.Command) -> None:
        """Charge for all statements that the call runs, and let its worker run no more."""
        call.statements = _statements(command)
        self._charges.run(call, call.statements)

    def _changing(self, call: Call) -> Change:
        return self._promises.changing(self._relay.key(call), call.identity.session)

    def on_get_schema(
        self, call: Call, command: c.Command, descriptor: flight.FlightDescriptor
    ) -> pa.Schema:
        """Return the schema from the worker, or of a metadata command."""
        self._refuse_if_draining()
        if isinstance(command, c.METADATA):
            return schema_of(command)
        self._charges.look(call)
        return self._relay.unary(
            call, lambda client, options: client.get_schema(descriptor, options).schema
        )

    def on_do_get(self, call: Call, ticket: flight.Ticket) -> Result | flight.FlightDataStream:
        """Return the worker's rows."""
        data = ticket.ticket
        self._in_flight.fetched(data)
        early = self._early_rows(call, ticket)
        if early is not None:
            return early
        command = decode_ticket(data)
        match command:
            case c.StatementTicket(statement_handle=control.HAS_RUN):
                return pa.table({})
            case c.GetSqlInfo():
                return sql_info_table(dialect.SQL_INFO, command.info)
            case c.GetTableTypes():
                return dialect.table_types()
            case c.GetXdbcTypeInfo():
                return dialect.xdbc_type_info(command.data_type)
        meter.Statement(call, type(command))
        if isinstance(command, c.METADATA):
            self._charges.look(call)
        else:
            self._charges.fetch(call, data)
        return self._relay.stream(call, ticket)

    def _early_rows(
        self, call: Call, ticket: flight.Ticket
    ) -> Result | flight.FlightDataStream | None:
        """Return the rows behind a ticket if the worker has sent them already; else None."""
        if _is_query_only(call):
            return None
        worker = self._relay.key(call)
        early = self._promises.rows(worker, call.identity.session, ticket.ticket)
        if early is None:
            return None
        meter.Statement(call, c.StatementTicket)
        self._charges.fetch(call, ticket.ticket)
        if not self._relay.fetched(worker, early.key):
            return self._relay.stream(call, ticket)
        meter.sent(early.table)
        return flight.RecordBatchStream(early.table)

    def on_do_put(
        self,
        call: Call,
        command: c.Command,
        descriptor: flight.FlightDescriptor,
        upload: Upload,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Pass the client's rows on to the worker."""
        self._refuse_if_draining()
        binds = isinstance(command, c.PreparedStatementQuery)
        meter.Statement(call, type(command), goes_on=binds)
        if not binds:
            self._pay(call, command)
        if binds:
            self._relay.put(call, command, descriptor, upload, writer, lambda: None)
            return
        with self._changing(call) as change:
            self._relay.put(call, command, descriptor, upload, writer, change.told)

    def on_do_action(self, call: Call, kind: str, body: bytes) -> Iterable[bytes]:
        """Pass Flight SQL's actions to the worker; the control channel stays closed to users."""
        caller = call.identity
        if caller.identity.action not in (None, kind):
            raise PermissionDenied("this token is for another action")
        if kind not in c.ACTIONS:
            return [self._on_control(call, kind, body)]
        request = decode_action(kind, body)
        if isinstance(request, c.ClosePreparedStatement):
            # It only frees memory, and every client would wait for the answer.
            if not request.prepared_statement_handle.startswith(control.KEEPS_NOTHING):
                self._relay.action_aside(call, kind, body)
            return []
        if kind not in _ENDING:
            self._refuse_if_draining()
        elif not self._relay.has_worker(call):
            answer = _ENDING[kind]
            if answer is None:
                raise NotFound("your worker has stopped, and what this call refers to is gone")
            return answer
        if not isinstance(request, c.CreatePreparedStatement):
            with self._changing(call):
                return self._relay.action(call, kind, body)
        meter.Statement(call, c.CreatePreparedStatement, goes_on=True)
        self._charges.look(call)
        worker = self._relay.key(call)
        since = self._promises.since(worker)
        answer = self._relay.action(call, kind, body, _PROMISE)
        return self._promises.keep(worker, call.identity.session, answer, since)

    def _on_control(self, call: Call, kind: str, body: bytes) -> bytes:
        """Answer the proxy's own actions: for the HTTP process and for administrators."""
        if kind == control.CANCEL:
            return self._cancel(call, body)
        if kind not in ACTIONS and kind not in {control.METRICS, control.POOL_STATUS}:
            raise NotSupported(f"unknown action {kind[:64]!r}; ListActions has those there are")
        identity = call.identity.identity
        if not identity.admin and identity.action != kind:
            raise PermissionDenied("this is for administrators: use a token with the claim 'admin'")
        siblings = self._siblings()
        if siblings and kind != control.POOL_STATUS:
            self._pool.sweep()  # so that the answer has the workers that they have just started
            for share in siblings:
                self._pool.learn(share.users)
        match kind:
            case control.METRICS:
                return metrics.expose(self._gauges)
            case control.POOL_STATUS:
                return json.dumps(self._status(siblings, with_databases=body != b"")).encode()
        return json.dumps(self._administration.answer(kind, body)).encode()

    def _status(self, siblings: Sequence[metrics.Share], *, with_databases: bool) -> Json:
        counts, stats = self._pool.counts(), self._pool.stats()
        for share in siblings:
            counts["queued"] += share.queued
            stats["total_spawned"] += share.started
            stats["total_stopped"] += share.stopped
        problems = [problem.check for problem in self._pool.problems]
        available = self._pool.backend.reachable and not problems
        return {
            "ready": self._pool.ready and not self.draining,
            "draining": self.draining,
            "uptime_seconds": int(time.monotonic() - self._started),
            "backend": {
                "name": self._pool.backend.name,
                "status": "available" if available else "unavailable",
                **({"problems": problems} if problems else {}),
            },
            "databases": self._databases.status() if with_databases else [],
            "queue": {"starting": counts["states"]["starting"], "waiting": counts["queued"]},
            **stats,
            **counts,
        }

    def _cancel(self, call: Call, body: bytes) -> bytes:
        """Cancel the caller's own calls that have this id."""
        wanted = body.decode("ascii", "replace")
        mine = [
            other
            for other in self.calls.running()
            if other.header(control.CALL_HEADER) == wanted
            and other.identity.identity.sub == call.identity.identity.sub
        ]
        for other in mine:
            other.cancel()
        return json.dumps({"cancelled": bool(mine)}).encode()

    def _refuse_if_draining(self) -> None:
        if self.draining:
            raise Unavailable("the server is shutting down: connect again in a moment")


def _is_query_only(call: Call) -> bool:
    """Return whether the worker has to check that the call is only a query."""
    return control.QUERY_HEADER in call.headers


def _statements(command: c.Command) -> int:
    """Return how many statements ``command`` runs."""
    match command:
        case c.StatementQuery(query=text) | c.StatementUpdate(query=text):
            return count(text)
        case (
            c.PreparedStatementQuery(prepared_statement_handle=handle)
            | c.PreparedStatementUpdate(prepared_statement_handle=handle)
        ):
            return count_handle(handle)
    return 1
