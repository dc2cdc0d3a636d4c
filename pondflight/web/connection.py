"""A client's connection: uvicorn's HTTP/1.1 protocol with limits that uvicorn does not have.

uvicorn and h11 parse and write HTTP. This adds time limits (for a request's head, for reading a
response, for idling), a limit on connections, an abort that no client mistakes for the end of a
response, problem documents for malformed requests, and noticing that a client disconnects although
its next request is already waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from typing import Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from pondflight.web import problems

ABORT: Final = "pondflight.abort"
"""Key in the ASGI scope's ``state``: a function that aborts the connection."""

MOST_CONNECTIONS: Final = 1000
HEAD_SECONDS: Final = 10.0
"""How long a request line and its headers may take to arrive."""

SEND_SECONDS: Final = 120.0
"""How long a client may read nothing of its response."""

_IDLE_SECONDS: Final = 75.0
_LINGER_SECONDS: Final = 5.0
_MOST_AHEAD: Final = 64 << 10
_HEAD_AT_ONCE: Final = 4 << 10
_BODY_AT_ONCE: Final = 64 << 10
_RESET: Final = struct.pack("ii", 1, 0)
_DETAILS: Final = {
    408: "the request did not arrive in time",
    431: "request line and headers are too large",
}


class Connection(H11Protocol):
    """One client's connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the idle timer, and close another connection if there are too many."""
        super().connection_made(cast("asyncio.Transport", transport))
        self.app_state = {**self.app_state, ABORT: self.abort}
        self._ahead = bytearray()
        """Bytes that arrived after the request that is being answered."""
        self._lingers = False
        self._in_head = False
        self._unsent = 0
        self._stall: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wait(_IDLE_SECONDS)
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers when the connection has ended."""
        super().connection_lost(exc)
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Hand the bytes to h11, or keep them until the current request is answered."""
        at = 0
        while at < len(data):
            # h11 checks its limit only when a head is incomplete, so feed heads in small steps.
            step = _HEAD_AT_ONCE if self._waiting else _BODY_AT_ONCE
            self._feed(data[at : at + step])
            at += step

    def _feed(self, data: bytes) -> None:
        if self._lingers or self.transport.is_closing():
            return
        if self._answering or self._ahead:
            # uvicorn would stop reading here, and miss that the client disconnects.
            self._ahead += data
            if len(self._ahead) > _MOST_AHEAD:
                self.flow.pause_reading()
            return
        if self._waiting and not self._in_head:
            self._in_head = True
            self._wait(HEAD_SECONDS)
        before = self.cycle
        super().data_received(data)
        self._look_after(before)

    def on_response_complete(self) -> None:
        """Start the idle timer, and continue with the next request if it is already here."""
        before = self.cycle
        self._wait(_IDLE_SECONDS)
        super().on_response_complete()  # begins the next request, if it is already here
        self._look_after(before)
        if self._ahead and not self._answering:
            self.loop.call_soon(self._feed_ahead)

    def pause_writing(self) -> None:
        """Start watching whether the client reads at all."""
        super().pause_writing()
        self._watch_progress()

    def resume_writing(self) -> None:
        """Stop the write timer: the client is reading again."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()

    def abort(self) -> None:
        """Reset the connection: the client must not take a partial response for a whole one."""
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that h11 cannot parse; uvicorn calls this."""
        # The error itself quotes the request, which may contain a token.
        status = getattr(sys.exception(), "error_status_hint", 400)
        self._refuse(status if status in _DETAILS else 400)

    # -- in which state it is -----------------------------------------------------------------

    @property
    def patience(self) -> tuple[bool, float] | None:
        """Return whether a request has begun, and since when the client is being waited for.

        The connection with the smallest value is closed first. None: a request is being answered,
        or the connection is closing.
        """
        if self._answering or self.transport.is_closing():
            return None
        return self._in_head or not self._waiting, self._since

    @property
    def _waiting(self) -> bool:
        """Return whether the head of the next request has not come completely."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    @property
    def _answering(self) -> bool:
        """Return whether a complete request has not been answered completely."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not (cycle.more_body or cycle.response_complete)

    def _look_after(self, before: object) -> None:
        """Stop the timer if a request has begun (the app limits its body), and keep reading."""
        if self.cycle is not before:
            self._in_head = False
            if self._timer is not None:
                self._timer.cancel()
        if self._answering and not self.transport.is_closing():
            self.flow.resume_reading()

    def _feed_ahead(self) -> None:
        if not self._answering:
            data = bytes(self._ahead)
            self._ahead.clear()
            self.data_received(data)

    # -- limits -------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        self._since = self.loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self._in_head and not self._lingers:
            self._refuse(408)
        elif self.transport.get_write_buffer_size():
            self.abort()
        else:
            self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that has idled longest, or else the slowest to send its request."""
        others = [c for c in self.connections if isinstance(c, Connection) and c is not self]
        if waiting := [c for c in others if c.patience is not None]:
            min(waiting, key=lambda c: c.patience or (False, 0.0)).abort()

    def _watch_progress(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(SEND_SECONDS, self._look_for_progress)

    def _look_for_progress(self) -> None:
        if self.transport.get_write_buffer_size() >= self._unsent:
            self.abort()
        else:
            self._watch_progress()

    def _refuse(self, status: int) -> None:
        """Respond to a request that never reaches the app, and let the client read the response."""
        _count(status)
        if not self._waiting:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.abort()
            return
        detail = _DETAILS.get(status, "the request is malformed")
        document = problems.problem(status, detail)
        body = problems.encode(document)
        headers = {
            "content-type": problems.MEDIA_TYPE,
            "content-length": str(len(body)),
            "x-content-type-options": "nosniff",
            "connection": "close",
            **problems.headers_of(document),
        }
        response = h11.Response(
            status_code=status,
            headers=list(headers.items()),
            reason=problems.phrase(status).encode(),
        )
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._lingers = True
        self._wait(_LINGER_SECONDS)
        self.transport.write_eof()


def _count(status: int) -> None:
    """Count a refused request in the metrics."""
    from pondflight.web import metrics  # noqa: PLC0415 - the arbiter loads this module, too

    metrics.REQUESTS.labels("none", "none", str(status)).inc()
