"""One HTTP request and its response: the ASGI layer around Falcon's app.

It does what Falcon leaves to the server: it reads bodies within limits, cancels the work for a
client that disconnects, and aborts the connection when a response fails halfway.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import falcon.asgi

from pondflight.errors import PondflightError
from pondflight.telemetry.logs import Event, get_logger
from pondflight.web.connection import ABORT
from pondflight.web.request_bodies import (
    DROPPED,
    MAX_BODY,
    AsgiEvent,
    Receive,
    RequestBodies,
    drop,
    too_large,
)

log = get_logger()

Scope: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[AsgiEvent], Awaitable[None]]
FalconApp: TypeAlias = falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]

_KEY: Final = "pondflight.exchange"
_CLOSE: Final = (b"connection", b"close")
_VERSIONS: Final = ("1.0", "1.1")
_LONGEST_LENGTH: Final = 15
"""Digits. A Content-Length with more digits is larger than any limit."""


class Exchange:
    """One request and its response. Use it only from the task that answers the request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, bodies: RequestBodies) -> None:
        headers = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self._bodies = bodies
        self._abort: Callable[[], None] | None = scope.get("state", {}).get(ABORT)
        self._task = asyncio.current_task()
        self._at_end: list[Callable[[], object]] = []
        self._watcher: asyncio.Task[None] | None = None
        self._length = _length(headers)
        self._waits = headers.get(b"expect", b"").lower() == b"100-continue"
        self._body_complete = not self._length and b"transfer-encoding" not in headers
        self._gone = False

    @staticmethod
    def of(req: falcon.asgi.Request) -> Exchange:
        """Return the exchange of Falcon's request ``req``."""
        exchange: Exchange = req.scope[_KEY]
        return exchange

    async def body(self) -> bytes:
        """Read the request's body, once. Raises what ``RequestBodies.read`` raises."""
        if self._length > MAX_BODY:
            raise too_large()
        self._waits = False
        return await self._bodies.read(self._receive_body)

    def cancel_on_disconnect(self) -> None:
        """Cancel this request's task if the client disconnects from now on.

        Call it after the body was read, since both receive from the client.
        """
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def at_end(self, close: Callable[[], object]) -> None:
        """Call and await ``close`` when the exchange is over, in reverse order of registration."""
        self._at_end.append(close)

    async def run(self, app: FalconApp, scope: Scope) -> None:
        """Run ``app`` for this request, and clean up afterwards."""
        try:
            await app(scope, _first, self._pass_on)
        except BaseException as error:
            if not self._gone:
                self._cut_off(error)
            if isinstance(error, asyncio.CancelledError) and not self._gone:
                raise
        finally:
            if self._watcher is not None:
                self._watcher.cancel()
            while self._at_end:
                await self._close(self._at_end.pop())

    async def _receive_body(self) -> AsgiEvent:
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_complete = True
        return message

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        assert self._task is not None
        self._task.cancel()

    async def _pass_on(self, message: AsgiEvent) -> None:
        starts = message["type"] == "http.response.start"
        if starts and not (self._body_complete or await self._drop_body()):
            message["headers"].append(_CLOSE)
        await self._send(message)

    async def _drop_body(self) -> bool:
        """Receive and discard the rest of the body; return whether all of it came.

        A client that waits for "100 Continue" has not begun to send it.
        """
        if self._waits or self._length > DROPPED or self._watcher is not None:
            return False
        return await drop(self._receive_body)

    def _cut_off(self, error: BaseException) -> None:
        """Abort the connection: the client must not take a partial response for a whole one."""
        if isinstance(error, PondflightError | asyncio.CancelledError):
            log.info(Event.RESULT_CUT, reason=type(error).__name__)
        else:
            log.error(Event.INTERNAL_ERROR, where="http", exc_info=error)
        if self._abort is not None:
            self._abort()

    async def _close(self, close: Callable[[], object]) -> None:
        try:
            result = close()
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception(Event.INTERNAL_ERROR, where="http")


class Exchanges:
    """The ASGI app: runs Falcon's app with an ``Exchange`` for each request."""

    def __init__(self, app: FalconApp) -> None:
        self.app = app
        self._bodies = RequestBodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        exchange = Exchange(scope, receive, send, self._bodies)
        scope[_KEY] = exchange
        if scope["http_version"] not in _VERSIONS:
            scope["http_version"] = "3"  # for which Falcon calls the app, which refuses it
        _in_origin_form(scope)
        await exchange.run(self.app, scope)


async def _first() -> AsgiEvent:
    """Return an empty body, so that Falcon reads nothing: resources call ``Exchange.body``."""
    return {"type": "http.request", "body": b"", "more_body": False}


def _length(headers: dict[bytes, bytes]) -> int:
    given = headers.get(b"content-length", b"").partition(b",")[0].strip()
    if not given.isdigit():
        return 0
    return int(given) if len(given) < _LONGEST_LENGTH else 10**_LONGEST_LENGTH


def _in_origin_form(scope: Scope) -> None:
    """Turn the absolute form of a request target into path and Host (RFC 9112, 3.2.2)."""
    scheme, found, rest = scope["path"].partition("://")
    if found and not scheme.startswith("/"):
        authority, slash, path = rest.partition("/")
        scope["path"] = slash + path
        headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
        with contextlib.suppress(UnicodeEncodeError):
            headers.append((b"host", authority.encode("latin-1")))
        scope["headers"] = headers
