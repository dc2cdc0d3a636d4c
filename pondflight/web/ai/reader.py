"""Runs queries in the caller's own worker, on threads, until the request ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pondflight.control import Json
from pondflight.web import threads
from pondflight.web.upstream import Statement, Upstream

T = TypeVar("T")


class Reader:
    """Runs queries, and nothing else, for one request, one at a time."""

    def __init__(self, upstream: Upstream, token: str) -> None:
        self._upstream = upstream
        self._token = token
        self._last: Statement | None = None
        self._cancelled = False

    async def call(self, function: Callable[[Reader], T]) -> T:
        """Return what ``function`` returns for this reader, on a thread.

        It ends early if this call is cancelled.
        """
        return await threads.call(threads.READS, lambda: function(self), self._cancel)

    def statement(self) -> Statement:
        """Return the next query, to be run or checked. Call this and all else here in a thread."""
        statement = self._upstream.statement(self._token, "", {}, query_only=True)
        self._last = statement
        if self._cancelled:
            statement.cancel()
        return statement

    def rows(self, sql: str) -> list[Json]:
        """Run a query with a small result and return all its rows."""
        found = self.statement().run(sql, None)
        try:
            return [row for batch in found for row in batch.to_pylist()]
        finally:
            found.close()

    def _cancel(self) -> None:
        self._cancelled = True
        if self._last is not None:
            self._last.cancel()
