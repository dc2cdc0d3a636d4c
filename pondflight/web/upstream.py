"""The proxy as the HTTP app sees it: a Flight SQL server.

Statements run with the caller's own token, so the proxy treats them like those that come by Flight.
For questions of its own, the app uses a token for that one question.
"""

from __future__ import annotations

import itertools
import json
import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa
from pyarrow import flight

from pondflight import control
from pondflight.auth.tokens import Tokens
from pondflight.errors import Cancelled, PondflightError
from pondflight.flightsql import wire
from pondflight.flightsql.client import act, open_client
from pondflight.flightsql.status import from_pyarrow
from pondflight.tls import Certificate

T = TypeVar("T")

COUNT_SCHEMA = pa.schema([pa.field("Count", pa.int64())])

_APART = [("grpc.use_local_subchannel_pool", 1)]
"""Without this, channels of the same kind share one connection."""
_SUBJECT = "pondflight-web"
_CONTROL_SECONDS = 2.0
_ADMIN_SECONDS = 20.0
_CANCEL_EVERY = 0.1
_CANCEL_TRIES = 50


class Upstream:
    """Connections to the proxy, shared by all threads; statements take turns."""

    def __init__(
        self, location: str, tokens: Tokens, certificate: Certificate | None = None, number: int = 1
    ) -> None:
        options = {}
        if certificate is not None:
            # Trust only the proxy's own certificate, whoever has signed it.
            options["tls_root_certs"] = certificate.chain
            options["override_hostname"] = certificate.name.encode()
        clients = [open_client(location, channel=_APART, tls=options) for _ in range(number)]
        self._client = clients[0]
        self._clients = itertools.cycle(clients)
        self._tokens = tokens
        self._cancels = ThreadPoolExecutor(4, thread_name_prefix="cancel")

    def ready(self) -> bool:
        """Return whether the proxy accepts statements; False if it does not answer."""
        try:
            return bool(self.pool_status()["ready"])
        except PondflightError:
            return False

    def pool_status(self, *, databases: bool = False) -> dict[str, object]:
        """Return the answer to ``control.POOL_STATUS``.

        ``databases``: check the attached databases too.
        """
        body = b"databases" if databases else b""
        status: dict[str, object] = json.loads(self._control(control.POOL_STATUS, body))
        return status

    def metrics(self) -> bytes:
        """Return the proxy's own metrics in Prometheus's text format (``control.METRICS``)."""
        return self._control(control.METRICS)

    def statement(
        self, token: str, session: str, trace: Mapping[str, str], *, query_only: bool = False
    ) -> Statement:
        """Return a statement of the user whom ``token`` names, in one of their sessions or in none.

        ``trace`` contains the headers of its trace. ``query_only``: the worker refuses anything but
        a query (``control.QUERY_HEADER``).
        """
        headers = {**trace, **({control.QUERY_HEADER: "1"} if query_only else {})}
        return Statement(next(self._clients), self._cancels, token, session, headers)

    def close_session(self, token: str, session: str) -> None:
        """End a session of the user whom ``token`` names."""
        body = wire.new("CloseSessionRequest").SerializeToString()
        options = _options(_CONTROL_SECONDS, token, session)
        try:
            list(self._client.do_action(flight.Action("CloseSession", body), options))
        except Exception as error:
            raise from_pyarrow(error) from error

    def admin(self, action: str, body: dict[str, object] | None = None) -> dict[str, object]:
        """Send an administrator's action to the proxy; return its answer."""
        data = b"" if body is None else json.dumps(body).encode()
        answer: dict[str, object] = json.loads(self._control(action, data, _ADMIN_SECONDS))
        return answer

    def _control(self, action: str, body: bytes = b"", seconds: float = _CONTROL_SECONDS) -> bytes:
        token = self._tokens.mint_call(_SUBJECT, action, seconds)
        return act(self._client, action, body, _options(seconds, token))


class Rows:
    """The rows of a statement: a schema, and batches as they come. To be closed."""

    def __init__(self, schema: pa.Schema, batches: Generator[pa.RecordBatch]) -> None:
        self.schema = schema
        self._batches = batches
        # DuckDB finds many mistakes with the first rows: those can still be a proper answer.
        self._first = next(batches, None)

    def close(self) -> None:
        """Cancel the statement, since no more rows are wanted."""
        self._batches.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
            yield from self._batches


class Statement:
    """One statement, from the first call to its last row. ``cancel`` may come at any time."""

    def __init__(
        self,
        client: flight.FlightClient,
        cancels: ThreadPoolExecutor,
        token: str,
        session: str,
        trace: Mapping[str, str],
    ) -> None:
        self._client = client
        self._cancels = cancels
        self._id = secrets.token_hex(16)
        self._token = token
        self._session = session
        self._options = _options(None, token, session, **{control.CALL_HEADER: self._id}, **trace)
        self._over = threading.Event()
        self._cancelled = threading.Event()

    def run(self, sql: str, parameters: pa.RecordBatch | None) -> Rows:
        """Run ``sql``, with one row of parameters if it has any.

        Raises one of our errors; so do the rows while they are read. A statement without rows
        returns one: the number of rows that it changed, as ``Count``.
        """
        try:
            descriptor = self._descriptor(sql, parameters)
            info = self._step(lambda: self._client.get_flight_info(descriptor, self._options))
            if not info.schema.names:
                count = pa.record_batch([[max(0, info.total_records)]], schema=COUNT_SCHEMA)
                return Rows(COUNT_SCHEMA, (batch for batch in [count]))
            reader = self._step(
                lambda: self._client.do_get(info.endpoints[0].ticket, self._options)
            )
            schema = self._step(lambda: reader.schema)
            return Rows(schema, self._batches(reader))
        except BaseException:
            self.close()
            raise

    def check(self, sql: str) -> pa.Schema:
        """Parse, bind and plan ``sql``; return the schema of its rows.

        Only for queries, which do not run before their rows are fetched.
        """
        descriptor = flight.FlightDescriptor.for_command(sql.encode())
        try:
            info = self._step(lambda: self._client.get_flight_info(descriptor, self._options))
        finally:
            self.close()
        return info.schema

    def cancel(self) -> None:
        """End the statement at once, wherever it is; return without waiting."""
        if not self._cancelled.is_set() and not self._over.is_set():
            self._cancelled.set()
            self._cancels.submit(self._tell_proxy)

    def close(self) -> None:
        """Note that nothing more will be read."""
        self._over.set()

    def _descriptor(self, sql: str, parameters: pa.RecordBatch | None) -> flight.FlightDescriptor:
        if parameters is None:
            return flight.FlightDescriptor.for_command(sql.encode())
        handle = self._step(lambda: self._prepare(sql))
        handle = self._step(lambda: self._bind(handle, parameters))
        return _prepared(handle)

    def _prepare(self, sql: str) -> bytes:
        request = wire.new("ActionCreatePreparedStatementRequest", query=sql)
        action = flight.Action("CreatePreparedStatement", wire.pack(request))
        (result,) = self._client.do_action(action, self._options)
        packed = wire.message_class(wire.ANY).FromString(result.body.to_pybytes()).value
        answer = wire.message_class("ActionCreatePreparedStatementResult").FromString(packed)
        handle: bytes = answer.prepared_statement_handle
        return handle

    def _bind(self, handle: bytes, parameters: pa.RecordBatch) -> bytes:
        writer, answers = self._client.do_put(_prepared(handle), parameters.schema, self._options)
        with writer:
            writer.write_batch(parameters)
            writer.done_writing()
            answer = answers.read()
        if answer is None:
            return handle
        result = wire.message_class("DoPutPreparedStatementResult")
        bound: bytes = result.FromString(answer.to_pybytes()).prepared_statement_handle
        return bound

    def _batches(self, reader: flight.FlightStreamReader) -> Generator[pa.RecordBatch]:
        try:
            while True:
                try:
                    yield self._step(lambda: reader.read_chunk().data)
                except StopIteration:
                    return
        finally:
            reader.cancel()  # without effect if the last row was read
            self.close()

    def _step(self, call: Callable[[], T]) -> T:
        if self._cancelled.is_set():
            raise Cancelled("the client has gone away")
        try:
            return call()
        except (StopIteration, PondflightError):
            raise
        except Exception as error:
            raise from_pyarrow(error) from error

    def _tell_proxy(self) -> None:
        """Tell the proxy repeatedly, since the call to be cancelled may not have arrived yet."""
        options = _options(_CONTROL_SECONDS, self._token, self._session)
        action = flight.Action(control.CANCEL, self._id.encode())
        for _ in range(_CANCEL_TRIES):
            try:
                list(self._client.do_action(action, options))
            except Exception:  # noqa: BLE001 - the proxy is gone, and with it the statement
                return
            if self._over.wait(_CANCEL_EVERY):
                return


def _prepared(handle: bytes) -> flight.FlightDescriptor:
    message = wire.new("CommandPreparedStatementQuery", prepared_statement_handle=handle)
    return flight.FlightDescriptor.for_command(wire.pack(message))


def _options(
    timeout: float | None, token: str, session: str = "", **headers: str
) -> flight.FlightCallOptions:
    headers["authorization"] = f"Bearer {token}"
    if session:
        headers["cookie"] = f"{control.SESSION_COOKIE}={session}"
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return flight.FlightCallOptions(timeout=timeout, headers=pairs)
