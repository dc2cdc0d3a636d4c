"""Reads request bodies within limits of size, time and total memory.

A body is read only when a resource asks for it, after it has checked the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from pondflight.web.problems import ProblemError, problem

AsgiEvent: TypeAlias = dict[str, Any]
"""An event of ASGI."""

Receive: TypeAlias = Callable[[], Awaitable[AsgiEvent]]

MAX_BODY: Final = 4 << 20
"""Bytes that a body may have."""

BUFFERED: Final = 48 << 20
"""Bytes that all incomplete bodies together may take."""

BODY_SECONDS: Final = 20.0
BODY_BYTES_PER_SECOND: Final = 32 << 10
"""A body may take ``BODY_SECONDS``, plus a second for each ``BODY_BYTES_PER_SECOND`` received."""

DROPPED: Final = 2 << 30
DROP_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 2.0
"""An unwanted body is received and discarded before the response, up to ``DROPPED`` bytes, for at
most ``DROP_SECONDS``, and until the client pauses for ``PAUSE_SECONDS``: it then seems to wait for
the response."""


class RequestBodies:
    """All request bodies that are being received."""

    def __init__(self) -> None:
        self._reading: set[_Body] = set()

    async def read(self, receive: Receive) -> bytes:
        """Return a whole body.

        Raises ``ProblemError``: 413 if it is too large, 408 if it is too slow, 503 if all bodies
        take too much memory and this is the largest, 400 if the client disconnects.
        """
        body = _Body()
        self._reading.add(body)
        try:
            async with asyncio.timeout(BODY_SECONDS) as body.timeout:
                while not await body.receive_more(receive):
                    self._make_room()
        except TimeoutError:
            if body.gives_way:
                detail = "too many large requests at once: try again in a moment"
                raise ProblemError(problem(503, detail, retry_after=1)) from None
            raise ProblemError(problem(408, "the request did not arrive in time")) from None
        finally:
            self._reading.discard(body)
        return bytes(body.data)

    def _make_room(self) -> None:
        """If all bodies take too much memory, give up the largest, but never a small one."""
        open_ = [body for body in self._reading if not body.gives_way]
        if sum(len(body.data) for body in open_) > BUFFERED:
            max(open_, key=lambda body: len(body.data)).give_way()


class _Body:
    """One body that is being received."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.gives_way = False
        self.timeout = asyncio.timeout(None)
        self._began = asyncio.get_running_loop().time()

    async def receive_more(self, receive: Receive) -> bool:
        """Receive a piece; return whether it was the last."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError(problem(400, "the client disconnected before its request was whole"))
        self.data += message.get("body", b"")
        if len(self.data) > MAX_BODY:
            raise too_large()
        if self.gives_way:
            raise TimeoutError
        extra = len(self.data) / BODY_BYTES_PER_SECOND
        self.timeout.reschedule(self._began + BODY_SECONDS + extra)
        return not message.get("more_body", False)

    def give_way(self) -> None:
        """Give up this body: its reader raises 503."""
        self.gives_way = True
        self.timeout.reschedule(self._began)


async def drop(receive: Receive) -> bool:
    """Receive and discard the rest of a body; return whether all of it came.

    Most clients read a response only after they have sent everything. If their connection is closed
    earlier, they just see a broken connection.
    """
    dropped = 0
    try:
        async with asyncio.timeout(DROP_SECONDS):
            while dropped <= DROPPED:
                async with asyncio.timeout(PAUSE_SECONDS):
                    message = await receive()
                dropped += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
    except TimeoutError:
        pass
    return False


def too_large() -> ProblemError:
    """Return the error for a body over the limit (413)."""
    return ProblemError(problem(413, f"the body is over the limit of {MAX_BODY >> 20} MiB"))
