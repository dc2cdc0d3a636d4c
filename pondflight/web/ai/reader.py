"""Queries in the worker of whoever sent a request, which end when its client goes away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon

from pondflight.web.upstream import Statement, Upstream
from pondflight.web.worker import HANG_UP


class Reader:
    """Runs queries, and nothing but queries, for one request: one at a time."""

    def __init__(self, upstream: Upstream, token: str, req: falcon.Request) -> None:
        self._upstream = upstream
        self._token = token
        self._on_hang_up: Callable[[Callable[[], None]], None] = req.env.get(HANG_UP, _nobody)
        self._last: Statement | None = None

    def statement(self) -> Statement:
        """The next query; to be run or checked."""
        statement = self._upstream.statement(self._token, "", {}, query_only=True)
        self._last = statement
        self._on_hang_up(statement.cancel)
        return statement

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """All rows of a small query."""
        found = self.statement().run(sql, None)
        try:
            return [row for batch in found for row in batch.to_pylist()]
        finally:
            found.close()

    def cancel(self) -> None:
        """End the query that runs. From any thread."""
        if self._last is not None:
            self._last.cancel()


def _nobody(_: object) -> None:
    """Where the server does not tell of clients that go away."""
