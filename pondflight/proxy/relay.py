"""Passes calls from the client to the worker and back, for each kind of RPC.

Batches pass one at a time and are never collected. When the client goes away, the worker is told by
call id, since a Flight client can cancel neither a unary call nor a DoGet that waits for its first
message.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Self, TypeVar

import pyarrow as pa
from pyarrow import flight

from pondflight import control, memory
from pondflight.errors import (
    Cancelled,
    Internal,
    InvalidArgument,
    PondflightError,
    Unauthenticated,
    Unavailable,
)
from pondflight.flightsql import ResultStream, Upload, validity
from pondflight.flightsql import commands as c
from pondflight.flightsql.status import ConnectionLost, NotConnected, from_pyarrow
from pondflight.flightsql.uploads import abandon
from pondflight.proxy import statement_metrics as meter
from pondflight.proxy.aside import SECONDS, Aside
from pondflight.proxy.callers import Call
from pondflight.proxy.reserve import Reserve
from pondflight.workers.pool import Pool
from pondflight.workers.worker import Lease

T = TypeVar("T")
_EMPTY = pa.schema([])
_NO_MORE: Mapping[str, str] = MappingProxyType({})
_MOST_DEAD_WORKERS = 2
_CANCELLED = "the statement was cancelled"
_MANY_BATCHES = 8


class Relay:
    """Sends calls to the worker of their caller."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._aside = Aside()
        self._reserve = Reserve()
        self._passed = 0
        """Batches that have passed since ``tidy``, roughly."""

    def tidy(self) -> None:
        """Give back the memory of batches that have passed; call it when none does."""
        if self._passed >= _MANY_BATCHES:
            self._passed = 0
            memory.trim()

    def close(self) -> None:
        """Shut down the threads without waiting for them."""
        self._aside.close()

    def key(self, call: Call) -> str:
        """Return the key of the caller's worker."""
        return self._pool.key(call.identity.user)

    def unary(
        self,
        call: Call,
        request: Callable[[flight.FlightClient, flight.FlightCallOptions], T],
        headers: Mapping[str, str] = _NO_MORE,
    ) -> T:
        """Make a call with one answer; ``headers`` are for the worker."""
        answer = self._send(
            call, lambda lease, options: request(lease.worker.client, options), headers
        )
        meter.answered(call)
        return answer

    def action(
        self,
        call: Call,
        kind: str,
        body: bytes,
        headers: Mapping[str, str] = _NO_MORE,
    ) -> list[bytes]:
        """Relay a DoAction call to the caller's worker and return the bodies of its results."""

        def act(lease: Lease, options: flight.FlightCallOptions) -> list[bytes]:
            client = lease.worker.client
            if not lease.worker.status.takes_actions:
                results = client.do_action(flight.Action(kind, body), options)
                return [result.body.to_pybytes() for result in results]
            info = client.get_flight_info(flight.FlightDescriptor.for_command(body), options)
            return [endpoint.ticket.ticket for endpoint in info.endpoints]

        answer = self._send(call, act, {**headers, control.ACTION_HEADER: kind})
        meter.answered(call)
        return answer

    def action_aside(self, call: Call, kind: str, body: bytes) -> None:
        """DoAction, if there is a worker, without waiting for it or for its answer."""
        lease = self._pool.lease_running(call.identity.user)
        if lease is None:
            return
        options = lease.worker.options(session=call.identity.session, timeout=SECONDS)

        def send() -> None:
            try:
                list(lease.worker.client.do_action(flight.Action(kind, body), options))
            finally:
                lease.release()

        if not self._aside.submit(lease.worker.generation, send):
            lease.release()

    def has_worker(self, call: Call) -> bool:
        """Whether the caller's worker runs. Calls that only end something do not start one."""
        lease = self._pool.lease_running(call.identity.user)
        if lease is None:
            return False
        lease.release()
        return True

    def fetched(self, worker: str, key: str) -> bool:
        """Note that a caller gets rows that its worker sent early; return False if it has ended.

        Returns False if that worker has ended. The worker is told with the next call of any kind.
        """
        connection = self._pool.connection(worker)
        if connection is None:
            return False
        connection.fetched.append(key)
        return True

    def stream(self, call: Call, ticket: flight.Ticket) -> ResultStream:
        """Relay a DoGet: the worker's batches, as fast as the client takes them."""

        def open_stream(
            lease: Lease, options: flight.FlightCallOptions
        ) -> tuple[Lease, flight.FlightStreamReader, pa.Schema]:
            reader = lease.worker.client.do_get(ticket, options)
            return lease, reader, reader.schema

        lease, reader, schema = self._send(call, open_stream)
        meter.answered(call)
        call.on_cancel(reader.cancel)
        # A client that has stopped reading keeps its call, but nothing of the worker.
        call.on_cancel(lease.release)

        def batches() -> Iterator[pa.RecordBatch]:
            with _worker_errors(self._pool, lease, call):
                for chunk in reader:
                    _check(chunk.data)
                    meter.sent(chunk.data)
                    self._passed += 1
                    call.sending()
                    yield chunk.data
                    call.sent()

        return ResultStream(schema, batches())

    def put(
        self,
        call: Call,
        command: c.Command,
        descriptor: flight.FlightDescriptor,
        upload: Upload,
        writer: flight.FlightMetadataWriter,
        told: Callable[[], None],
    ) -> None:
        """Relay a DoPut: the client's batches up, the worker's answers down.

        ``told`` is called before each answer.
        """
        # After a command without rows, nothing more may come; asking for more would wait.
        has_rows = isinstance(command, c.UPLOADS)
        schema = upload.schema if has_rows else _EMPTY
        lease, options = self._enter(call)
        with _worker_errors(self._pool, lease, call) as errors:
            up, answers = lease.worker.client.do_put(descriptor, schema, options)
            try:
                if has_rows:
                    self._send_rows(call, upload, up)
                up.done_writing()
                answer = answers.read()
                meter.answered(call)
                while answer is not None:
                    errors.unheard = True
                    told()
                    writer.write(answer)
                    answer = answers.read()
            except Exception:
                abandon(up)
                raise
            up.close()

    def _send_rows(self, call: Call, upload: Upload, up: flight.FlightStreamWriter) -> None:
        user = self.key(call)
        for chunk in upload:
            meter.received(chunk.data)
            self._passed += 1
            if chunk.data is None:
                up.write_metadata(chunk.app_metadata)
            else:
                with self._reserve.hold(user, chunk.data):
                    if chunk.app_metadata is None:
                        up.write_batch(chunk.data)
                    else:
                        up.write_with_metadata(chunk.data, chunk.app_metadata)
            del chunk  # the next one may be long in coming
        # To pyarrow, a client that died looks like the end of its stream.
        if not call.still_connected():
            call.raise_if_cancelled()

    def _send(
        self,
        call: Call,
        send: Callable[[Lease, flight.FlightCallOptions], T],
        headers: Mapping[str, str] = _NO_MORE,
    ) -> T:
        """Send a call; use another worker if its own died unnoticed and the call was never sent."""
        for _ in range(_MOST_DEAD_WORKERS):
            lease, options = self._enter(call, headers)
            try:
                with _worker_errors(self._pool, lease, call):
                    return send(lease, options)
            except _NeverSent as error:
                failure = error
        raise failure

    def _enter(
        self, call: Call, headers: Mapping[str, str] = _NO_MORE
    ) -> tuple[Lease, flight.FlightCallOptions]:
        caller = call.identity
        lease = self._pool.lease(caller.user, call.raise_if_cancelled)
        call.on_done(lambda _: lease.release())
        told = self._pool.told(caller.user, caller.session, caller.offered)
        if told is not None:
            raise told
        lease.worker.connection.kept.called(caller.session, caller.offered)
        call.on_cancel(_Once(self._aside, lease))
        headers = {**headers, **call.trace.headers()}
        if call.statements is not None:
            headers[control.STATEMENTS_HEADER] = str(call.statements)
        if control.QUERY_HEADER in call.headers:
            headers[control.QUERY_HEADER] = "1"
        return lease, lease.worker.options(
            session=caller.session,
            offer=caller.offered,
            call_id=lease.call_id,
            headers=headers,
        )


class _Once:
    """Tells the worker of a cancellation repeatedly, but never twice at the same time."""

    def __init__(self, aside: Aside, lease: Lease) -> None:
        self._aside = aside
        self._lease = lease
        self._under_way = threading.Lock()

    def __call__(self) -> None:
        if self._under_way.acquire(blocking=False) and not self._aside.submit(
            self._lease.worker.generation, self._tell
        ):
            self._under_way.release()

    def _tell(self) -> None:
        try:
            self._lease.cancel()
        finally:
            self._under_way.release()


def _check(batch: pa.RecordBatch) -> None:
    """Check a batch from a worker as one from a user: a worker runs what its user wrote."""
    try:
        validity.check(batch, text=False)
    except InvalidArgument as error:
        raise Internal("the worker sent damaged data") from error


class _NeverSent(Unavailable):
    """The call never reached a worker, or was refused there: the next worker may get it."""


class _worker_errors:  # noqa: N801  reads as a noun where it is used
    """Raises our error for the exception of the worker, or of the connection to it."""

    def __init__(self, pool: Pool, lease: Lease, call: Call) -> None:
        self._pool = pool
        self._lease = lease
        self._call = call
        self.unheard = False
        """Whether the client may have all that it wants, and hear of no error any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self._lease.heard()
        if error is None or isinstance(error, PondflightError | GeneratorExit):
            return
        if self._call.cancelled is not None:
            raise self._call.cancelled from error
        leaf = from_pyarrow(error)
        if isinstance(leaf, ConnectionLost):
            user, session = self._call.identity.user, self._call.identity.session
            told = self._pool.lost(self._lease, user)
            if not isinstance(leaf, NotConnected) and not self.unheard:
                self._pool.told(user, session)  # that is happening now
            raise _NeverSent(told.message) if isinstance(leaf, NotConnected) else told from error
        if isinstance(leaf, Unavailable) and leaf.message == control.RETIRED:
            self._pool.refused(self._lease)
            raise _NeverSent(leaf.message, retry_after=1.0) from error
        if isinstance(leaf, Unauthenticated):
            raise Internal("the worker does not accept this server's credential") from error
        if isinstance(leaf, Cancelled) and not leaf.message.startswith(_CANCELLED):
            raise Cancelled(_CANCELLED) from error  # gRPC's own message is of no help
        raise leaf from error
