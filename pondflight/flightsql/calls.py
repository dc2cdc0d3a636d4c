"""A call, from its first header to its last byte: who makes it, and whether it still runs.

pyarrow tells a handler nothing when its client goes away: the context's ``is_cancelled()`` has to
be asked, and asking it after the call has ended is a segmentation fault. So one thread asks for all
running calls, under a lock that the end of a call takes as well.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar, cast

from pyarrow import flight

from pondflight.errors import Cancelled, DeadlineExceeded, PondflightError
from pondflight.flightsql import threads
from pondflight.flightsql.status import leaf_of, to_pyarrow
from pondflight.telemetry.tracing import UNTRACED, Span

log = logging.getLogger(__name__)

Headers = Mapping[str, list[str]]
"""Request headers: lower-case names, each with all its values."""

Identity = TypeVar("Identity")
"""What an authenticator makes of a call's headers."""
Identity_co = TypeVar("Identity_co", covariant=True)

POLL_SECONDS = 0.05
_QUIET_LOOKS = 3
_METHODS = {method: method.name.lower() for method in flight.FlightMethod}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Authenticator(Protocol[Identity]):
    """Authenticates callers, and chooses response headers for them."""

    def authenticate(self, method: str, headers: Headers) -> Identity:
        """Return the identity behind ``headers``.

        Raises ``Unauthenticated`` or another of our errors.

        ``method`` is pyarrow's name of the RPC in lower case (``do_get``, ``handshake``).
        """

    def response_headers(
        self, method: str, headers: Headers, identity: Identity, /
    ) -> Mapping[str, str]:
        """Return the headers to send before the call's first byte."""


class Anonymous:
    """Accepts everyone. For tests, and for servers behind something that authenticates."""

    def authenticate(self, method: str, headers: Headers) -> None:
        """Return no identity, whatever the headers say."""

    def response_headers(self, method: str, headers: Headers, identity: None) -> Mapping[str, str]:
        """Return no headers."""
        return {}


class Call(Generic[Identity_co]):
    """One RPC; ``identity`` is the authenticator's answer to ``headers``.

    Handlers register what has to happen when the client goes away (``on_cancel``) and when the call
    is over (``on_done``). ``trace`` belongs to whoever traces calls.
    """

    trace: Span = UNTRACED
    context: flight.ServerCallContext | None = None
    error: PondflightError | None = None
    """The error with which it is failing, once that is known."""
    statements: int | None = None
    """How many SQL statements it may run; ``None``: not counted."""
    rows_left = False
    """Whether it streams a result whose last row was not taken yet."""
    # Few calls have the rest: what every call sets costs every call.
    _deadline = _limit = _alarm = _patience = _sending_since = math.inf
    _on_alarm: Callable[[], None]
    _sent: frozenset[str] = frozenset()
    _reason: PondflightError | None = None
    _done = False

    def __init__(self, method: str, headers: Headers, identity: Identity_co) -> None:
        self.method = method
        self.headers = headers
        self.identity = identity
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self._on_cancel: list[Callable[[], None]] = []
        self._on_done: list[Callable[[PondflightError | None], None]] = []

    def header(self, name: str) -> str | None:
        """Return the first value of a request header."""
        values = self.headers.get(name)
        return values[0] if values else None

    def send_header(self, name: str, value: str) -> None:
        """Send a response header; the first value of a name counts.

        Only before the answer begins.
        """
        if self.context is not None and name not in self._sent:
            self._sent |= {name}
            self.context.add_header(name, value)

    def limit(self, seconds: float) -> None:
        """Cancel the call with ``DeadlineExceeded`` when it takes longer than that from now."""
        self._deadline = time.monotonic() + seconds
        self._limit = seconds

    def alarm(self, seconds: float, callback: Callable[[], None]) -> None:
        """Run ``callback`` once, in the watcher's thread, if the call still runs by then.

        A later alarm replaces this one. The callback must not block.
        """
        self._on_alarm = callback
        self._alarm = time.monotonic() + seconds

    def limit_idleness(self, seconds: float) -> None:
        """Cancel the call if its client does not read a piece of the result for that long."""
        self._patience = seconds

    def sending(self) -> None:
        """Record that a piece of the result is about to be sent."""
        self._sending_since = time.monotonic()

    def sent(self) -> None:
        """Record that the client has room for the next piece."""
        self._sending_since = math.inf

    @property
    def overdue(self) -> float:
        """Return the seconds since its limit passed; 0.0 before that."""
        return max(0.0, time.monotonic() - self._deadline)

    @property
    def cancelled(self) -> PondflightError | None:
        """Return why the call was cancelled: its client has gone, or somebody has ended it."""
        return self._reason

    def raise_if_cancelled(self) -> None:
        """Raise the reason if the call was cancelled."""
        if self._reason is not None:
            raise self._reason

    def still_connected(self) -> bool:
        """Ask the transport whether the client is connected.

        Only inside a handler, or under the lock of the call table.
        """
        if self._reason is None and self.context is not None and self.context.is_cancelled():
            self.cancel()
        return self._reason is None

    def in_time(self) -> bool:
        """Return whether the call may go on: it is neither cancelled nor past its limit."""
        now = time.monotonic()
        if now > self._alarm:
            self._alarm = math.inf
            _guarded(self._on_alarm)
        if self._reason is None and now - self._sending_since > self._patience:
            self.cancel(
                Cancelled(f"the client has not read on for {self._patience:g} s: run it again")
            )
        if self._reason is None and now > self._deadline:
            self.cancel(
                DeadlineExceeded(f"the statement took longer than its limit of {self._limit:g} s")
            )
        return self._reason is None

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` when the call is cancelled, and every 50 ms until the call has ended.

        It is repeated since what it interrupts may not have begun the first time. It runs in the
        watcher's thread and must not block.
        """
        with self._lock:
            if not self._done:
                self._on_cancel.append(callback)

    def on_done(self, callback: Callable[[PondflightError | None], None]) -> None:
        """Run ``callback`` with the outcome when the call's last byte is sent or given up."""
        with self._lock:
            if not self._done:
                self._on_done.append(callback)
                return
        callback(None)

    def cancel(self, reason: PondflightError | None = None) -> None:
        """Mark the call as cancelled; the watcher does the rest. Only the first reason counts."""
        with self._lock:
            if self._reason is None and not self._done:
                self._reason = reason or Cancelled("the call was cancelled")

    def notify_cancelled(self) -> None:
        """Run what was registered for cancellation. Called by the watcher."""
        with self._lock:
            callbacks = list(self._on_cancel)
        for callback in callbacks:
            _guarded(callback)

    def finish(self, error: PondflightError | None) -> None:
        """Run what was registered for the end of the call. Called once, by the middleware."""
        with self._lock:
            if self._done:
                return
            self._done = True
            callbacks, self._on_done = self._on_done, []
            self._on_cancel = []
        for callback in reversed(callbacks):
            _guarded(callback, error)


class CallTable(Generic[Identity]):
    """The running calls of one server, and the thread that notices that clients are gone.

    ``on_quiet`` is called from that thread when no call has come or run for a moment.
    """

    def __init__(self, on_quiet: Callable[[], None] = lambda: None) -> None:
        self._on_quiet = on_quiet
        self._calls: set[Call[Identity]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._entered = 0
        self._sleeps = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="call-watcher", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._calls)

    def running(self) -> list[Call[Identity]]:
        """Return the calls that are running now."""
        with self._lock:
            return list(self._calls)

    def enter(self, call: Call[Identity], context: flight.ServerCallContext) -> None:
        """Watch ``call`` from now on, until ``leave``."""
        call.context = context
        with self._lock:
            self._calls.add(call)
            self._entered += 1
            if self._sleeps:
                self._sleeps = False
                self._wake.set()

    def leave(self, call: Call[Identity]) -> None:
        """Stop watching; never touch the call's context again.

        pyarrow reports a stream as complete even if its client went away, and gRPC may not know
        that yet; but then rows are left that nobody took.
        """
        with self._lock:
            if call.rows_left:
                call.cancel()
            self._calls.discard(call)
            call.context = None

    def close(self) -> None:
        """Stop the thread."""
        with self._lock:
            self._closed = True
        self._wake.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        # A fixed rhythm: waking the thread for each call would cost it a thread switch. The thread
        # sleeps only if no call has come for a while.
        quiet, seen = 0, 0
        while not self._closed:
            time.sleep(POLL_SECONDS)
            _guarded(self._look)
            quiet = quiet + 1 if seen == self._entered and not self._calls else 0
            seen = self._entered
            if quiet >= _QUIET_LOOKS:
                _guarded(self._on_quiet)
                self._sleep()
                quiet = 0

    def _sleep(self) -> None:
        """Wait until a call comes, or the table is closed."""
        with self._lock:
            if self._calls or self._closed:
                return
            self._wake.clear()
            self._sleeps = True
        self._wake.wait()

    def _look(self) -> None:
        """Ask all running calls once, and notify those that were cancelled."""
        with self._lock:
            ended = [
                call for call in self._calls if not (call.still_connected() and call.in_time())
            ]
        for call in ended:
            call.notify_cancelled()


def _guarded(callback: Callable[..., None], *arguments: object) -> None:
    """Run ``callback`` and log what it raises, since others still have to be told."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("a callback of a call failed")


class CallMiddleware(flight.ServerMiddleware, Generic[Identity]):
    """Carries the ``Call`` through pyarrow's layers, and notes its end."""

    def __init__(
        self, call: Call[Identity], table: CallTable[Identity], headers: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.call = call
        self._table = table
        self._headers = headers

    def sending_headers(self) -> Mapping[str, str]:
        """Return the response headers once, although pyarrow asks twice for unary calls."""
        headers, self._headers = self._headers, _NO_HEADERS
        return headers

    def call_completed(self, exception: BaseException | None) -> None:
        """End the call: pyarrow calls this before the call's context dies."""
        self._table.leave(self.call)
        known = self.call.error or self.call.cancelled
        self.call.finish(known or (None if exception is None else leaf_of(exception)))


class CallMiddlewareFactory(flight.ServerMiddlewareFactory, Generic[Identity]):
    """Authenticates each RPC before anything else looks at it."""

    def __init__(
        self,
        table: CallTable[Identity],
        authenticator: Authenticator[Identity],
        admit: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._admit = admit
        self._table = table
        self._authenticator = authenticator

    def start_call(
        self, info: flight.CallInfo, headers: dict[str, list[str | bytes]]
    ) -> CallMiddleware[Identity]:
        """Authenticate the call, and create its ``Call``. Values of binary headers are left out."""
        threads.keep()
        method = _METHODS[info.method]
        texts = _texts(headers)
        try:
            if self._admit is not None:
                self._admit()
            identity = self._authenticator.authenticate(method, texts)
            response = self._authenticator.response_headers(method, texts, identity)
        except Exception as error:  # noqa: BLE001  whatever it is, no traceback leaves
            raise to_pyarrow(leaf_of(error)) from None
        return CallMiddleware(Call(method, texts, identity), self._table, response)


def _texts(headers: dict[str, list[str | bytes]]) -> Headers:
    """``headers`` with names in lower case, as they nearly always are, and without bytes."""
    for name in headers:
        if name.endswith("-bin") or not name.islower():
            return {
                name.lower(): [value for value in values if isinstance(value, str)]
                for name, values in headers.items()
            }
    return cast("Headers", headers)


class NoHandshake(flight.ServerAuthHandler):
    """Accepts Handshake, which pyarrow refuses as UNIMPLEMENTED without an auth handler.

    The middleware has authenticated the call by its headers; nothing is left to do.
    """

    def authenticate(
        self, outgoing: flight.ServerAuthSender, incoming: flight.ServerAuthReader
    ) -> None:
        """Answer with an empty message, for which some clients (Node's) wait."""
        outgoing.write(b"")

    def is_valid(self, token: bytes) -> bytes:
        """Return nothing: every call that passed the middleware is valid."""
        return b""
