"""/mcp: the Model Context Protocol (streamable HTTP), with the user's token.

Each request is independent: there are no sessions and no event streams, so a client that asks for a
stream (GET) is told that there is none, as the specification requires.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import falcon
from falcon.asgi import Request, Response

from pondflight.auth.tokens import Tokens, bearer
from pondflight.errors import DeadlineExceeded
from pondflight.web import callers, problems
from pondflight.web.ai.reader import Reader
from pondflight.web.exchange import Exchange
from pondflight.web.request_bodies import AsgiEvent
from pondflight.web.shares import Shares
from pondflight.web.upstream import Upstream

_SECONDS: Final = 300.0
_LONGEST_WORDS: Final = 300


@dataclass(slots=True)
class _Answer:
    """The response of the MCP library, collected in memory."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def send(self, message: AsgiEvent) -> None:
        """Collect one ASGI message of the response."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message.get("headers", [])
        else:
            self.body += message.get("body", b"")


class Mcp:
    """``POST /mcp``."""

    def __init__(self, tokens: Tokens, upstream: Upstream, places: Shares) -> None:
        self._tokens = tokens
        self._places = places
        self._upstream = upstream

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answer one message of the protocol."""
        exchange = Exchange.of(req)
        identity = await callers.identify(self._tokens, req)
        body = await exchange.body()
        exchange.at_end(self._places.enter(identity.sub))
        exchange.cancel_on_disconnect()
        reader = Reader(self._upstream, bearer(req.auth))
        answer = await self._answer(req, reader, body)
        if answer.status >= HTTPStatus.BAD_REQUEST and not _is_json(answer.body):
            words = answer.body.decode("utf-8", "replace")[:_LONGEST_WORDS]
            raise problems.ProblemError(problems.problem(answer.status, words))
        resp.status = falcon.code_to_http_status(answer.status)
        for name, value in answer.headers:
            if name != b"content-length":
                resp.set_header(name.decode("latin-1"), value.decode("latin-1"))
        resp.data = bytes(answer.body)

    async def _answer(self, req: Request, reader: Reader, body: bytes) -> _Answer:
        from pondflight.web.ai import tools  # noqa: PLC0415  heavy

        async def receive() -> AsgiEvent:
            return {"type": "http.request", "body": body, "more_body": False}

        answer = _Answer()
        scope = {**req.scope, tools.READER: reader}
        try:
            async with asyncio.timeout(_SECONDS):
                await tools.answer(_server(), scope, receive, answer.send)
        except TimeoutError:
            raise DeadlineExceeded("the call took longer than it may") from None
        return answer


@cache
def _server() -> Any:
    from pondflight.web.ai import tools  # noqa: PLC0415  heavy

    return tools.server()


def _is_json(body: bytes | bytearray) -> bool:
    """Return whether the body is JSON: the library labels all refusals so, even plain text."""
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
