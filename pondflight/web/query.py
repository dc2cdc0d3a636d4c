"""POST /query: SQL over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final, cast

from falcon import HTTP_204
from falcon.asgi import Request, Response

from pondflight import control, memory
from pondflight.auth.tokens import Tokens, bearer
from pondflight.errors import InvalidArgument, PondflightError
from pondflight.telemetry.tracing import Span
from pondflight.web import callers, formats, problems, statements, threads
from pondflight.web.exchange import Exchange
from pondflight.web.result import Result
from pondflight.web.shares import Shares
from pondflight.web.upstream import Upstream

SESSION_HEADER: Final = "pondflight-session"
QUERY_HEADER: Final = "pondflight-query-only"
"""``1``: run the statement if it is a query, and refuse it if it is anything else."""

RESULTS: Final = 256
"""Results that may stream at once, for all users; as many threads serve them."""

RESULTS_OF_ONE_USER: Final = 32

_TRIM_SECONDS: Final = 0.5
"""Seconds from the end of the last result until memory is returned to the system.

By then all of it is free, and many short statements are followed by one trim.
"""
_SESSION: Final = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)


class Query:
    """``POST /query``."""

    def __init__(self, upstream: Upstream, tokens: Tokens) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._shares = Shares(RESULTS, RESULTS_OF_ONE_USER, "results")
        self._trim_due = False

    async def on_post(self, req: Request, resp: Response) -> None:
        """Run the statement in the body; answer with rows in the format that ``Accept`` names."""
        exchange = Exchange.of(req)
        identity = await callers.identify(self._tokens, req)
        form = formats.negotiate(req)
        session, query_only = session_of(req), _query_only(req)
        request = await statements.read(req)
        exchange.at_end(self._trim_later)
        exchange.at_end(self._shares.enter(identity.sub))
        span: Span = req.context.span
        statement = self._upstream.statement(
            bearer(req.auth), session, span.headers(), query_only=query_only
        )
        exchange.cancel_on_disconnect()
        result = Result(statement, form)
        exchange.at_end(result.close)
        try:
            await result.begin(request)
        except PondflightError as error:
            document = problems.of_error(error, request.sql)
            raise problems.ProblemError(document) from error
        resp.content_type = form.media_types[0]
        resp.append_header("vary", "Accept")
        resp.stream = cast("AsyncIterator[bytes]", result.pieces())

    def _trim_later(self) -> None:
        if not self._shares and not self._trim_due:
            self._trim_due = True
            asyncio.get_running_loop().call_later(_TRIM_SECONDS, self._trim)

    def _trim(self) -> None:
        self._trim_due = False
        threads.SHORT.submit(memory.trim)


class Session:
    """``DELETE /session``."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def on_delete(self, req: Request, resp: Response) -> None:
        """End the session that the request names."""
        token = bearer(req.auth)
        session = session_of(req)
        if not session:
            raise InvalidArgument(f"name the session in the header {SESSION_HEADER}")
        await threads.call(threads.SHORT, lambda: self._upstream.close_session(token, session))
        resp.status = HTTP_204


def session_of(req: Request) -> str:
    """Return the session named in the header or in the cookie; empty for none."""
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


def _query_only(req: Request) -> bool:
    value = req.get_header(QUERY_HEADER)
    if value not in (None, "1"):
        raise InvalidArgument(f"{QUERY_HEADER} must be 1, or be left out")
    return value is not None
