"""The public Flight SQL address: every RPC authenticated, and relayed to the caller's worker.

What is the same for everyone is answered here, without a worker: a client whose first call is
for SqlInfo must not lose its transactions to a slow start.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa
from pyarrow import flight

from pondflight import control, dialect
from pondflight.errors import NotFound, NotSupported, PermissionDenied, Unavailable
from pondflight.flightsql import Call, FlightSqlServer, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.sqlinfo import sql_info_table
from pondflight.flightsql.streams import Result
from pondflight.proxy.callers import CallerCheck
from pondflight.proxy.relay import Relay
from pondflight.tokens import Tokens
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
"""Actions about what a worker holds, and their answers where there is no worker; None: NotFound.

They need not start one, and are answered while the server is shutting down.
"""


class ProxyServer(FlightSqlServer):
    """Relays Flight SQL."""

    def __init__(self, location: str, *, pool: Pool, tokens: Tokens) -> None:
        self._pool = pool
        self._relay = Relay(pool)
        self.draining = False
        super().__init__(location, authenticator=CallerCheck(tokens))

    def close(self) -> None:
        """Stop listening; wait for running calls."""
        super().close()
        self._relay.close()

    def on_get_flight_info(
        self, call: Call, command: c.Command, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Metadata from here, since only its rows need the worker; statements from the worker."""
        self._refuse_if_draining()
        if isinstance(command, c.METADATA):
            self._pool.prestart(call.identity.user)
            return self.metadata_info(command, descriptor)
        return self._relay.unary(
            call, lambda client, options: client.get_flight_info(descriptor, options)
        )

    def on_get_schema(
        self, call: Call, command: c.Command, descriptor: flight.FlightDescriptor
    ) -> pa.Schema:
        """As GetFlightInfo."""
        self._refuse_if_draining()
        if isinstance(command, c.METADATA):
            return super().on_get_schema(call, command, descriptor)
        return self._relay.unary(
            call, lambda client, options: client.get_schema(descriptor, options).schema
        )

    def on_do_get(self, call: Call, command: c.Command, ticket: flight.Ticket) -> Result:
        """The worker's rows."""
        match command:
            case c.GetSqlInfo():
                return sql_info_table(dialect.SQL_INFO, command.info)
            case c.GetTableTypes():
                return dialect.table_types()
            case c.GetXdbcTypeInfo():
                return dialect.xdbc_type_info(command.data_type)
        return self._relay.stream(call, ticket)

    def on_do_put(
        self,
        call: Call,
        command: c.Command,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """The client's rows."""
        self._refuse_if_draining()
        self._relay.put(call, command, descriptor, reader, writer)

    def on_do_action(self, call: Call, kind: str, body: bytes) -> Iterable[bytes]:
        """Flight SQL's actions to the worker; the control channel stays closed to users."""
        if kind == control.POOL_STATUS:
            return [self._pool_status(call)]
        if kind not in c.ACTIONS:
            raise NotSupported(f"unknown action {kind[:64]!r}; ListActions has those there are")
        request = c.decode_action(kind, body)
        if isinstance(request, c.ClosePreparedStatement):
            # It only frees memory, and every client waits for the answer.
            if not request.prepared_statement_handle.startswith(control.KEEPS_NOTHING):
                self._relay.action_aside(call, kind, body)
            return []
        if kind not in _ENDING:
            self._refuse_if_draining()
        elif not self._relay.has_worker(call):
            answer = _ENDING[kind]
            if answer is None:
                raise NotFound("your worker has stopped, and with it what this call is about")
            return answer
        return self._relay.action(call, kind, body)

    def _pool_status(self, call: Call) -> bytes:
        if not call.identity.identity.admin:
            raise PermissionDenied("the status of the pool is for administrators")
        return json.dumps({"ready": not self.draining, **self._pool.stats()}).encode()

    def _refuse_if_draining(self) -> None:
        if self.draining:
            raise Unavailable("the server is shutting down: connect again in a moment")
