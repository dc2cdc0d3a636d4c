"""Streams a result: threads read and encode rows, and the event loop sends them.

The next piece is made while one is sent, and no more is kept. A slow client takes up two pieces of
memory and no thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

from pondflight.web import threads
from pondflight.web.formats import Format, Pieces
from pondflight.web.sink import Piece
from pondflight.web.statements import Request
from pondflight.web.upstream import Rows, Statement

_AT_ONCE: Final = 1 << 20
"""Bytes per write: asyncio copies what the socket does not take at once."""


class Result:
    """The result of one statement in one format."""

    def __init__(self, statement: Statement, form: Format) -> None:
        self._statement = statement
        self._form = form
        self._rows: Rows | None = None
        self._encoded: Pieces | None = None
        self._first: Piece | None = None
        self._next: asyncio.Task[Piece | None] | None = None

    async def begin(self, request: Request) -> None:
        """Run the statement up to its first rows. Its errors can still become a response."""

        def run() -> Piece | None:
            self._rows = self._statement.run(request.sql, request.parameters)
            self._encoded = self._form.encode(self._rows.schema, self._rows)
            return self._encode_next()

        self._first = await threads.call(threads.RESULTS, run, self._statement.cancel)

    async def pieces(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the encoded result in parts of up to 1 MiB. Raises an error if it is cut."""
        piece = self._first
        self._first = None
        while piece is not None:
            self._next = asyncio.create_task(self._make_next())
            for part in _in_parts(piece):
                yield part
            piece = await self._next

    async def close(self) -> None:
        """Cancel the statement unless it has finished, and free what it holds."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
            if not self._next.cancelled():
                self._next.exception()  # has been raised already, or nobody will read it
        await threads.call(threads.RESULTS, self._close)

    async def _make_next(self) -> Piece | None:
        return await threads.call(threads.RESULTS, self._encode_next, self._statement.cancel)

    def _encode_next(self) -> Piece | None:
        assert self._encoded is not None
        return next(self._encoded, None)

    def _close(self) -> None:
        if self._encoded is not None:
            self._encoded.close()
        if self._rows is not None:
            self._rows.close()
        self._statement.close()


def _in_parts(piece: Piece) -> Iterator[bytes | memoryview]:
    small: list[memoryview] = []
    size = 0
    for buffer in piece:
        view = memoryview(buffer).cast("B")
        for start in range(0, len(view), _AT_ONCE):
            part = view[start : start + _AT_ONCE]
            if size + len(part) > _AT_ONCE:
                yield _joined(small)
                small, size = [], 0
            small.append(part)
            size += len(part)
    if size:
        yield _joined(small)


def _joined(views: list[memoryview]) -> bytes | memoryview:
    return views[0] if len(views) == 1 else b"".join(views)
