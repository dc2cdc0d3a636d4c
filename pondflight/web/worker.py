"""gunicorn's worker for this app: a loop reads requests, threads answer them.

gunicorn's own threaded worker gives a thread to each connection and lets it wait there for
whatever the client sends, for ever. Here a thread gets a request when all of it has come, so slow
clients cost no thread; and it may break a connection off, so that a result that ends early never
looks like one that is complete.

A connection is in one of three states, and belongs to the loop in all but the second:
``READING`` (a request is awaited, or on its way), ``ANSWERING`` (a thread has it) and ``CLOSING``
(answered; what the client still sends is dropped, so that it gets to read the answer).
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import selectors
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from gunicorn.http import RequestParser, wsgi
from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.base import Worker as GunicornWorker

from pondflight.errors import PondflightError
from pondflight.logs import Event, get_logger
from pondflight.web import problems
from pondflight.web.intake import NO_ROOM, TOO_SLOW, Intake, Refusal

log = get_logger()

HANG_UP: Final = "pondflight.on_hang_up"
"""Key in the WSGI environment: a function that takes what to call if the client goes away."""

_IDLE_SECONDS: Final = 75.0
_LINGER_SECONDS: Final = 5.0
_LINGER_BYTES: Final = 32 << 20
_SEND_SECONDS: Final = 120.0
_TICK_SECONDS: Final = 0.5
_RECEIVE: Final = 64 << 10
_MOST_AT_ONCE: Final = 512  # Linux takes 1024
_BUFFERED: Final = 48 << 20
_RESET: Final = struct.pack("ii", 1, 0)
_AT_ONCE: Final = (b"GET /health ", b"GET /live ")
"""Requests that the loop answers itself: they wait for nothing, and must not wait for a thread."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class State(Enum):
    """Who has a connection, and what for."""

    READING = auto()
    ANSWERING = auto()
    CLOSING = auto()


class Connection:
    """One client's connection. ``reset``: its client must not take its end for a clean one."""

    def __init__(self, sock: socket.socket, address: Any, server: Any) -> None:
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.address = address
        self.server = server
        self.state = State.READING
        self.registered = False
        self.reset = False
        self.intake: Intake | None = None
        self.since = time.monotonic()
        self.on_hang_up: Callable[[], None] | None = None
        self.dropped = 0

    @property
    def idle(self) -> bool:
        """No byte of the next request has come."""
        return self.intake is None

    @property
    def deadline(self) -> float:
        """When the loop gives up waiting."""
        if self.state is State.CLOSING:
            return self.since + _LINGER_SECONDS
        return self.since + _IDLE_SECONDS if self.intake is None else self.intake.deadline

    def close(self) -> None:
        """Close it, or reset it."""
        with contextlib.suppress(OSError):
            if self.reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.sock.close()


class Response(wsgi.Response):
    """Sends whatever has bytes in it, or a list of such, without a copy."""

    def write(self, data: Any) -> None:
        """Send a piece of the body: in one system call, if the client keeps up."""
        self.send_headers()
        views = [memoryview(part).cast("B") for part in (data if type(data) is list else [data])]
        size = sum(map(len, views))
        if self._omits_body or not size:
            return
        if self.chunked:
            views = [memoryview(b"%X\r\n" % size), *views, memoryview(b"\r\n")]
        _send_all(self.sock, views)


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
        self._buffered += len(data)
        refusal = intake.feed(data)
        if refusal is None and self._buffered > _BUFFERED and not intake.complete:
            refusal = NO_ROOM
        if refusal is not None:
            self._refuse(connection, refusal)
        elif intake.complete:
            self._hand_over(connection, intake)
        else:
            if intake.wants_continue:
                intake.wants_continue = False
                with contextlib.suppress(OSError):
                    connection.sock.send(_CONTINUE)
            self._watch(connection)

    def _hand_over(self, connection: Connection, intake: Intake) -> None:
        self._ignore(connection)
        request, rest = intake.take()
        self._forget(connection)
        connection.state = State.ANSWERING
        connection.sock.settimeout(_SEND_SECONDS)
        if request.startswith(_AT_ONCE):
            self._answer(connection, request, rest)
        else:
            self._threads.submit(self._answer, connection, request, rest)

    def _answered(self, connection: Connection, rest: bytes, *, keep: bool) -> None:
        self._ignore(connection)
        connection.on_hang_up = None
        if connection.reset:
            self._close(connection)
            return
        connection.sock.settimeout(0)
        connection.since = time.monotonic()
        if not keep:
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
                self._refuse(connection, TOO_SLOW)
            else:
                self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._ignore(connection)
        self._forget(connection)
        self._connections.discard(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        if connection.intake is not None:
            self._buffered -= len(connection.intake)
            connection.intake = None

    def _watch(self, connection: Connection) -> None:
        if not connection.registered:
            connection.registered = True
            self._selector.register(
                connection.sock, selectors.EVENT_READ, partial(self._readable, connection)
            )

    def _ignore(self, connection: Connection) -> None:
        if connection.registered:
            connection.registered = False
            self._selector.unregister(connection.sock)

    # -- hanging up ---------------------------------------------------------------------------

    def _watch_for_hang_up(self, connection: Connection, callback: Callable[[], None]) -> None:
        def watch() -> None:
            if connection.state is State.ANSWERING and connection in self._connections:
                connection.on_hang_up = callback
                self._watch(connection)

        self._post(watch)

    def _look_for_hang_up(self, connection: Connection) -> None:
        """Readable while it is being answered: the next request, or the end of the client."""
        try:
            gone = not connection.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            gone = True
        self._ignore(connection)
        if gone and connection.on_hang_up is not None:
            connection.on_hang_up()

    # -- threads ------------------------------------------------------------------------------

    def _answer(self, connection: Connection, request: bytes, rest: bytes) -> None:
        keep = False
        try:
            keep = self._run_app(connection, request)
        except ParseException as error:
            self._answer_malformed(connection, error)
        except OSError:
            connection.reset = True  # the client is gone, or has not read for too long
        except BaseException:
            log.exception(Event.INTERNAL_ERROR, where="http")
            connection.reset = True
        finally:
            self._post(partial(self._answered, connection, rest, keep=keep))

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
        return not response.should_close()

    def _answer_malformed(self, connection: Connection, error: ParseException) -> None:
        # The error itself quotes the request, which may have a token in it.
        status, detail = {
            LimitRequestLine: (414, "the URL is too long"),
            LimitRequestHeaders: (431, "a header is too long, or there are too many of them"),
            ExpectationFailed: (417, "the only expectation that is met is 100-continue"),
        }.get(type(error), (400, f"the request is malformed ({type(error).__name__})"))
        with contextlib.suppress(OSError):
            connection.sock.sendall(_raw_answer(problems.problem(status, detail)))


def _raw_answer(document: dict[str, Any]) -> bytes:
    body = problems.encode(document)
    status = document["status"]
    headers = {
        "content-type": problems.MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        **problems.headers_of(document),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {problems.phrase(status)}\r\n{head}\r\n".encode() + body


def _send_all(sock: socket.socket, views: list[memoryview]) -> None:
    while views:
        sent = sock.sendmsg(views[:_MOST_AT_ONCE])
        done = 0
        while done < len(views) and sent >= len(views[done]):
            sent -= len(views[done])
            done += 1
        views = views[done:]
        if sent:
            views[0] = views[0][sent:]


def _allow_descriptors(connections: int) -> None:
    """Have room for that many sockets, whatever the shell's limit is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
