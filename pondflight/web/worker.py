"""gunicorn's worker for this app: a loop reads requests, threads answer them.

gunicorn's own threaded worker gives a thread to each connection and lets it wait there for
whatever the client sends, for ever. Here a thread gets a request when all of it has come, so slow
clients cost no thread; and it may break a connection off, so that a result that ends early never
looks like one that is complete.

A connection is in one of four states, and belongs to the loop in all but the second:
``READING`` (a request is awaited, or on its way), ``ANSWERING`` (a thread has it), ``SENDING`` (the
client has not read all of its answer) and ``CLOSING`` (answered; what the client still sends is
dropped, so that it gets to read the answer).
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from gunicorn.http import RequestParser, wsgi
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.util import http_date
from gunicorn.workers.base import Worker as GunicornWorker

from pondflight.errors import PondflightError
from pondflight.telemetry.logs import Event, get_logger
from pondflight.web import problems
from pondflight.web.connection import Connection, Response, State, Stream, Whole
from pondflight.web.intake import NO_ROOM, Intake, Refusal

log = get_logger()

HANG_UP: Final = "pondflight.on_hang_up"
"""Key in the WSGI environment: a function that takes what to call if the client goes away."""

_LINGER_BYTES: Final = 32 << 20
_TICK_SECONDS: Final = 0.5
_RECEIVE: Final = 64 << 10
_BUFFERED: Final = 48 << 20
_AT_ONCE: Final = (b"GET /health ", b"GET /live ")
"""Requests that the loop answers itself: they wait for nothing, and must not wait for a thread."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Worker(GunicornWorker):
    """One process: the loop, and ``cfg.threads`` threads."""

    def init_process(self) -> None:
        """Called by gunicorn, after the fork."""
        self._threads = ThreadPoolExecutor(self.cfg.threads, thread_name_prefix="http")
        self._selector = selectors.DefaultSelector()
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self._connections: set[Connection] = set()
        self._buffered = 0
        self._next_tick = 0.0
        _allow_descriptors(self.cfg.worker_connections)
        super().init_process()

    def run(self) -> None:
        """Read, hand over, and see to time limits, until gunicorn says to stop."""
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._run_posted)
        for listener in self.sockets:
            listener.settimeout(0)
            self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
        while self.alive and self.ppid == os.getppid():
            self._turn()
        for listener in self.sockets:
            self._selector.unregister(listener)
            listener.close()
        for connection in [c for c in self._connections if c.idle and c.state is State.READING]:
            self._close(connection)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while self._connections and time.monotonic() < deadline:
            self._turn()
        # Threads that still wait for a statement must not keep the process.
        os._exit(0)

    def _turn(self) -> None:
        self.notify()
        for key, _ in self._selector.select(_TICK_SECONDS):
            key.data()
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + _TICK_SECONDS
            self._give_up(now)

    # -- the loop -----------------------------------------------------------------------------

    def _post(self, callback: Callable[[], None]) -> None:
        """Have the loop run ``callback``. From any thread."""
        self._posted.put(callback)
        with contextlib.suppress(OSError):  # full: the loop wakes up anyway
            os.write(self._wake_write, b"\0")

    def _run_posted(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._wake_read, 4096)
        with contextlib.suppress(queue.Empty):
            while True:
                self._posted.get_nowait()()

    def _accept(self, listener: Any) -> None:
        try:
            sock, address = listener.accept()
        except OSError:
            return
        if len(self._connections) >= self.cfg.worker_connections:
            self._make_room()
        connection = Connection(sock, address, listener.getsockname())
        self._connections.add(connection)
        self._readable(connection)

    def _make_room(self) -> None:
        """Drop the connection that has waited longest; one that has sent nothing, if any has."""
        waiting = [c for c in self._connections if c.state is not State.ANSWERING]
        if waiting:
            self._close(min(waiting, key=lambda c: (not c.idle, c.since)))

    def _readable(self, connection: Connection) -> None:
        if connection.state is State.ANSWERING:
            self._look_for_hang_up(connection)
            return
        try:
            data = connection.sock.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            self._watch(connection)
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
        elif connection.state is State.CLOSING:
            connection.dropped += len(data)
            if connection.dropped > _LINGER_BYTES:
                self._close(connection)
        else:
            self._feed(connection, data)

    def _feed(self, connection: Connection, data: bytes) -> None:
        intake = connection.intake
        if intake is None:
            intake = connection.intake = Intake(time.monotonic())
        before = len(intake)
        refusal = intake.feed(data)
        self._buffered += len(intake) - before
        if refusal is not None:
            self._refuse(connection, refusal)
            return
        if intake.complete:
            self._hand_over(connection, intake)
            return
        if intake.wants_continue:
            intake.wants_continue = False
            with contextlib.suppress(OSError):
                connection.sock.send(_CONTINUE)
        self._watch(connection)
        if self._buffered > _BUFFERED:
            # The largest gives way: a small request must not pay for it.
            self._refuse(max(self._connections, key=_buffered), NO_ROOM)

    def _hand_over(self, connection: Connection, intake: Intake) -> None:
        connection.ignore(self._selector)
        request, connection.rest = intake.take()
        self._forget(connection)
        connection.state = State.ANSWERING
        if request.startswith(_AT_ONCE):
            self._answer(connection, request)
        else:
            self._threads.submit(self._answer, connection, request)

    def _answered(self, connection: Connection) -> None:
        connection.ignore(self._selector)
        connection.on_hang_up = None
        if connection.reset:
            self._close(connection)
            return
        connection.sock.settimeout(0)
        connection.since = time.monotonic()
        connection.state = State.SENDING
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        """Send what is left of an answer; then see to the next request."""
        try:
            connection.send_unsent()
        except OSError:
            self._close(connection)
            return
        if connection.unsent:
            callback = partial(self._send, connection)
            connection.watch(self._selector, selectors.EVENT_WRITE, callback)
            return
        connection.ignore(self._selector)
        rest, connection.rest = connection.rest, b""
        if not connection.keep:
            self._linger(connection)
        elif not self.alive and not rest:
            self._close(connection)
        else:
            connection.state = State.READING
            if rest:
                self._feed(connection, rest)
            else:
                self._watch(connection)

    def _refuse(self, connection: Connection, refusal: Refusal) -> None:
        with contextlib.suppress(OSError):
            connection.sock.send(_raw_answer(refusal.document))
        _count(refusal.document)
        self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        """Say that no more will come, and let the client read the answer before the end."""
        self._forget(connection)
        connection.state = State.CLOSING
        connection.since = time.monotonic()
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
        else:
            self._watch(connection)

    def _give_up(self, now: float) -> None:
        for connection in list(self._connections):
            if connection.state is State.ANSWERING or now < connection.deadline:
                continue
            if connection.state is State.READING and not connection.idle:
                assert connection.intake is not None
                self._refuse(connection, connection.intake.overdue)
            else:
                self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.ignore(self._selector)
        self._forget(connection)
        self._connections.discard(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        if connection.intake is not None:
            self._buffered -= len(connection.intake)
            connection.intake = None

    def _watch(self, connection: Connection) -> None:
        callback = partial(self._readable, connection)
        connection.watch(self._selector, selectors.EVENT_READ, callback)

    # -- hanging up ---------------------------------------------------------------------------

    def _watch_for_hang_up(self, connection: Connection, callback: Callable[[], None]) -> None:
        def watch() -> None:
            if connection.state is State.ANSWERING and connection in self._connections:
                connection.on_hang_up = callback
                self._watch(connection)

        self._post(watch)

    def _look_for_hang_up(self, connection: Connection) -> None:
        """Readable while it is being answered: the next request, or the end of the client."""
        if len(connection.rest) >= _RECEIVE:
            connection.ignore(self._selector)
            return
        try:
            data = connection.sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            connection.rest += data
            return
        connection.ignore(self._selector)
        if connection.on_hang_up is not None:
            connection.on_hang_up()

    # -- threads ------------------------------------------------------------------------------

    def _answer(self, connection: Connection, request: bytes) -> None:
        connection.keep = False
        try:
            connection.keep = self._run_app(connection, request)
            connection.send_unsent()
        except ParseException as error:
            self._answer_malformed(connection, error)
        except OSError:
            connection.reset = True  # the client is gone, or has not read for too long
        except BaseException:
            log.exception(Event.INTERNAL_ERROR, where="http")
            connection.reset = True
        finally:
            self._post(partial(self._answered, connection))

    def _run_app(self, connection: Connection, data: bytes) -> bool:
        """Run the app for one request; whether the connection can have another."""
        sock, address = connection.sock, connection.address
        request = next(RequestParser(self.cfg, [data], address))
        request._expected_100_continue = False  # noqa: SLF001 - the body is here already
        response, environ = wsgi.create(
            request, sock, address, connection.server, self.cfg, response_class=Response
        )
        environ["wsgi.multithread"] = True
        environ[HANG_UP] = partial(self._watch_for_hang_up, connection)
        if not self.alive:
            response.force_close()
        pieces = self.wsgi(environ, response.start_response)
        whole = Whole() if isinstance(pieces, list) else None
        response.sock = whole or Stream(sock)
        try:
            for piece in pieces:
                response.write(piece)
            response.close()
        except BaseException as error:
            # Whatever was sent is not all: the client must not take it for all.
            connection.reset = True
            if isinstance(error, PondflightError):
                log.info(Event.RESULT_CUT, reason=type(error).__name__)
            elif not isinstance(error, OSError):
                log.exception(Event.INTERNAL_ERROR, where="http")
            return False
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
        if whole is not None:
            connection.unsent = whole.views
        return not response.should_close()

    def _answer_malformed(self, connection: Connection, error: ParseException) -> None:
        # The error itself quotes the request, which may have a token in it.
        status, detail = {
            LimitRequestLine: (414, "the URL is too long"),
            LimitRequestHeaders: (431, "a header is too long, or there are too many of them"),
            ExpectationFailed: (417, "the only expectation that is met is 100-continue"),
        }.get(type(error), (400, f"the request is malformed ({type(error).__name__})"))
        document = problems.problem(status, detail)
        connection.unsent = [memoryview(_raw_answer(document))]
        _count(document)


def _buffered(connection: Connection) -> int:
    return 0 if connection.intake is None else len(connection.intake)


def _count(document: dict[str, Any]) -> None:
    """Count a request that never gets to the app."""
    from pondflight.web import metrics  # noqa: PLC0415 - the arbiter loads this module, too

    metrics.REQUESTS.labels("none", "none", str(document["status"])).inc()


def _raw_answer(document: dict[str, Any]) -> bytes:
    body = problems.encode(document)
    status = document["status"]
    headers = {
        "content-type": problems.MEDIA_TYPE,
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        "date": http_date(),
        "connection": "close",
        **problems.headers_of(document),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {problems.phrase(status)}\r\n{head}\r\n".encode() + body


def _allow_descriptors(connections: int) -> None:
    """Have room for that many sockets, whatever the shell's limit is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
