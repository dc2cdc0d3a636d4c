"""POST /query: SQL over HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import falcon

from pondflight import control, memory
from pondflight.auth.tokens import bearer
from pondflight.errors import InvalidArgument, PondflightError, Unavailable
from pondflight.telemetry.tracing import Span
from pondflight.web import formats, problems, statements
from pondflight.web.upstream import Rows, Statement, Upstream
from pondflight.web.worker import HANG_UP

SESSION_HEADER: Final = "pondflight-session"
QUERY_HEADER: Final = "pondflight-query-only"
"""``1``: run the statement if it is a query, and refuse it if it is anything else."""
STREAMS: Final = 64
"""Results that may be on their way at once. Each has a thread; there are more for the rest."""

_TRIM_SECONDS: Final = 0.5
"""From the end of the last result until its memory is given back: by then all of it is free, and
many short statements are trimmed after once."""
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)


class Query:
    """``POST /query``."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._running = 0
        self._trim_due = False

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run the statement in the body; its rows in the form that ``Accept`` names."""
        token = bearer(req.auth)
        form = formats.negotiate(req)
        request = statements.read(req)
        span: Span = req.context.span
        statement = self._upstream.statement(
            token, session_of(req), span.headers(), query_only=_query_only(req)
        )
        req.env.get(HANG_UP, _nobody)(statement.cancel)
        self._enter()
        try:
            rows = statement.run(request.sql, request.parameters)
            resp.stream = _Body(form.encode(rows.schema, rows), rows, statement, self._leave)
        except BaseException as error:
            statement.close()
            self._leave()
            if isinstance(error, PondflightError):
                document = problems.of_error(error, request.sql)
                raise problems.ProblemError(document) from error
            raise
        resp.content_type = form.media_types[0]
        resp.append_header("vary", "Accept")

    def _enter(self) -> None:
        with self._lock:
            if self._running >= STREAMS:
                raise Unavailable("too many results are on their way: try again", retry_after=1.0)
            self._running += 1

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            begin = self._running == 0 and not self._trim_due
            self._trim_due |= begin
        if begin:
            timer = threading.Timer(_TRIM_SECONDS, self._trim)
            timer.daemon = True
            timer.start()

    def _trim(self) -> None:
        with self._lock:
            self._trim_due = False
        memory.trim()


class Session:
    """``DELETE /session``."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """End the session that the request names."""
        token = bearer(req.auth)
        session = session_of(req)
        if not session:
            raise InvalidArgument(f"name the session in the header {SESSION_HEADER}")
        self._upstream.close_session(token, session)
        resp.status = falcon.HTTP_204


class _Body:
    """The pieces of a result, and what has to be done when they are all sent, or given up."""

    def __init__(
        self,
        pieces: formats.Pieces,
        rows: Rows,
        statement: Statement,
        on_close: Callable[[], None],
    ) -> None:
        self._pieces = pieces
        self._rows = rows
        self._statement = statement
        self._on_close: Callable[[], None] | None = on_close
        self._first = next(pieces, None)  # what cannot be encoded shows here, and has an answer

    def __iter__(self) -> Iterator[Any]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
            yield from self._pieces

    def close(self) -> None:
        """Called by the server, whatever became of the pieces."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            self._pieces.close()
            self._rows.close()
            self._statement.close()
            on_close()


def session_of(req: falcon.Request) -> str:
    """The session that a request names, in the header or in the cookie; empty for none."""
    name = req.get_header(SESSION_HEADER)
    if name is None:
        name = req.cookies.get(control.SESSION_COOKIE)
    if name is None:
        return ""
    if not _SESSION.fullmatch(name):
        raise InvalidArgument(
            f"{SESSION_HEADER} must be 16 to 64 letters, digits, '_' and '-': choose it at random"
        )
    return name


def _query_only(req: falcon.Request) -> bool:
    value = req.get_header(QUERY_HEADER)
    if value not in (None, "1"):
        raise InvalidArgument(f"{QUERY_HEADER} must be 1, or not be there")
    return value is not None


def _nobody(_: object) -> None:
    """Where the server does not tell of clients that go away."""
