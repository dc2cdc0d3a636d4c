"""/mcp: the Model Context Protocol (streamable HTTP), with the user's token.

Each request stands alone: no session is kept and no event stream is opened, so a client that
asks for one (GET) is told that there is none, as the specification has it.
"""

from __future__ import annotations

import json
import threading
from http import HTTPStatus
from typing import Final

import falcon

from pondflight.auth.tokens import Tokens, bearer
from pondflight.errors import DeadlineExceeded
from pondflight.web import problems
from pondflight.web.ai.callers import Places
from pondflight.web.ai.reader import Reader
from pondflight.web.asgi import CALLER, EventLoop, Scope
from pondflight.web.upstream import Upstream

_SECONDS: Final = 300.0
_LONGEST_WORDS: Final = 300
_PASSED_ON: Final = ("accept", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name")


class Mcp:
    """``POST /mcp``."""

    def __init__(self, tokens: Tokens, upstream: Upstream, places: Places) -> None:
        self._tokens = tokens
        self._places = places
        self._upstream = upstream
        self._lock = threading.Lock()
        self._loop: EventLoop | None = None

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """One message of the protocol."""
        token = bearer(req.auth)
        self._tokens.verify(token)
        body = req.bounded_stream.read()
        self._places.enter(req)
        reader = Reader(self._upstream, token, req)
        try:
            answer = self._started().call(_scope(req, reader), body, _SECONDS)
        except DeadlineExceeded:
            reader.cancel()
            raise
        if answer.status >= HTTPStatus.BAD_REQUEST and not _is_json(answer.body):
            words = answer.body.decode("utf-8", "replace")[:_LONGEST_WORDS]
            raise problems.ProblemError(problems.problem(answer.status, words))
        resp.status = falcon.code_to_http_status(answer.status)
        for name, value in answer.headers:
            if name != "content-length":
                resp.set_header(name, value)
        resp.data = bytes(answer.body)

    def _started(self) -> EventLoop:
        with self._lock:
            if self._loop is None:
                from pondflight.web.ai import tools  # noqa: PLC0415  heavy

                self._loop = EventLoop(tools.lifespan)
            return self._loop


def _is_json(body: bytes | bytearray) -> bool:
    """The library calls all that it refuses JSON, and some of it is a sentence."""
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _scope(req: falcon.Request, reader: Reader) -> Scope:
    wanted = {name: req.get_header(name) for name in _PASSED_ON}
    wanted |= {k.lower(): v for k, v in req.headers.items() if k.lower().startswith("mcp-param-")}
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in wanted.items()
        if value is not None
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        "state": {},
        CALLER: reader,
    }
