"""Runs an ASGI app inside of this WSGI one: on an event loop in a thread, a request at a time.

The Model Context Protocol's library is asynchronous. All that it has to answer here is short and
whole (JSON, no streams), so a thread of the server hands a request to the loop and waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pondflight.errors import DeadlineExceeded

CALLER: Final = "pondflight.caller"
"""Key in the scope: what stands for whoever calls."""

Scope: TypeAlias = dict[str, Any]
App: TypeAlias = Callable[
    [Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]
]


@dataclass(slots=True)
class Answer:
    """What the app sent."""

    status: int = 500
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)


class EventLoop:
    """A thread with an event loop, in which one app lives."""

    def __init__(self, lifespan: Callable[[], AbstractAsyncContextManager[App]]) -> None:
        self._lifespan = lifespan
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._end: asyncio.Event | None = None
        self._app: App | None = None
        self._thread = threading.Thread(target=self._run, name="asgi", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._app is None:
            raise RuntimeError("the app did not start")

    def call(self, scope: Scope, body: bytes, seconds: float) -> Answer:
        """One request; ``DeadlineExceeded`` if it takes longer than ``seconds``."""
        future = asyncio.run_coroutine_threadsafe(self._call(scope, body), self._loop)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise DeadlineExceeded("the call took longer than it may") from None

    def close(self) -> None:
        """End the app and the thread."""
        if self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self._ready.set()
            self._loop.close()

    async def _live(self) -> None:
        self._end = asyncio.Event()
        async with self._lifespan() as app:
            self._app = app
            self._ready.set()
            await self._end.wait()

    async def _call(self, scope: Scope, body: bytes) -> Answer:
        assert self._app is not None
        answer = Answer()
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        forever = asyncio.Event()

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await forever.wait()  # the client stays until it has the answer
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = [
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in message.get("headers", [])
                ]
            elif message["type"] == "http.response.body":
                answer.body += message.get("body", b"")

        await self._app(scope, receive, send)
        return answer
