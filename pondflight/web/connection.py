"""A client's connection, and who has it.

A connection belongs to the loop in all states but ``ANSWERING``. What a client does not read at
once of an answer that is whole, the loop sends when it does: only the rows of a result, which come
as they are read, hold a thread.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from gunicorn.http import wsgi

from pondflight.web.intake import Intake

SEND_SECONDS: Final = 120.0
"""How long a client may read nothing of its answer."""

_IDLE_SECONDS: Final = 75.0
_LINGER_SECONDS: Final = 5.0
_MOST_AT_ONCE: Final = 512  # Linux takes 1024
_RESET: Final = struct.pack("ii", 1, 0)


class State(Enum):
    """Who has a connection, and what for."""

    READING = auto()
    ANSWERING = auto()
    SENDING = auto()
    CLOSING = auto()


class Connection:
    """One client's connection.

    ``reset``    its client must not take its end for a clean one
    ``unsent``   what is still to be sent of an answer
    ``keep``     another request may follow the answer
    ``rest``     what came behind the request
    ``watched``  for what the selector watches it: 0 for nothing
    ``dropped``  bytes that came when nothing was to come any more
    """

    def __init__(self, sock: socket.socket, address: Any, server: Any) -> None:
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.address = address
        self.server = server
        self.state = State.READING
        self.watched = 0
        self.reset = False
        self.unsent: list[memoryview] = []
        self.keep = False
        self.rest = b""
        self.intake: Intake | None = None
        self.since = time.monotonic()
        self.on_hang_up: Callable[[], None] | None = None
        self.dropped = 0

    @property
    def idle(self) -> bool:
        """No byte of the next request has come, and none of an answer is to be sent."""
        return self.state is State.READING and self.intake is None

    @property
    def deadline(self) -> float:
        """When the loop gives up waiting."""
        match self.state:
            case State.SENDING:
                return self.since + SEND_SECONDS
            case State.CLOSING:
                return self.since + _LINGER_SECONDS
        return self.since + _IDLE_SECONDS if self.intake is None else self.intake.deadline

    def watch(self, selector: selectors.BaseSelector, events: int, callback: Any) -> None:
        """Have ``callback`` called when the socket is ready for ``events``."""
        if not self.watched:
            selector.register(self.sock, events, callback)
        elif self.watched != events:
            selector.modify(self.sock, events, callback)
        self.watched = events

    def ignore(self, selector: selectors.BaseSelector) -> None:
        """No longer."""
        if self.watched:
            self.watched = 0
            selector.unregister(self.sock)

    def send_unsent(self) -> None:
        """Send what the socket takes now of ``unsent``. ``OSError`` if the client is gone."""
        views = self.unsent
        while views:
            try:
                views = _send(self.sock, views)
            except (BlockingIOError, InterruptedError):
                break
            self.since = time.monotonic()
        self.unsent = views

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
        self.sock.sendviews(views)


class Stream:
    """Where a ``Response`` sends rows to: the socket, which waits for the client."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(SEND_SECONDS)
        self._sock = sock
        self.sendall = sock.sendall

    def sendviews(self, views: list[memoryview]) -> None:
        """Send them all."""
        while views:
            views = _send(self._sock, views)


class Whole:
    """Where a ``Response`` sends a whole answer to: it is kept, and waits for nobody."""

    def __init__(self) -> None:
        self.views: list[memoryview] = []

    def sendall(self, data: bytes) -> None:
        """Keep it."""
        self.views.append(memoryview(data))

    def sendviews(self, views: list[memoryview]) -> None:
        """Keep them."""
        self.views += views


def _send(sock: socket.socket, views: list[memoryview]) -> list[memoryview]:
    """Send some of ``views``; what is left of them."""
    sent = sock.sendmsg(views[:_MOST_AT_ONCE])
    done = 0
    while done < len(views) and sent >= len(views[done]):
        sent -= len(views[done])
        done += 1
    views = views[done:]
    if sent:
        views[0] = views[0][sent:]
    return views
