"""What is fuzzed: everything that decodes bytes of a client before anybody knows what they are.

A target takes any bytes. It gives something, or raises an error leaf that blames the caller;
whatever else it raises is a bug.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from pondflight.auth.tokens import Tokens
from pondflight.engine.execution.handles import Handle
from pondflight.engine.sql import lexer
from pondflight.errors import ConfigError, InvalidArgument, NotFound, NotSupported, Unauthenticated
from pondflight.flightsql import decoding
from pondflight.proxy.callers import CallerCheck
from pondflight.settings.loading import load
from pondflight.web import statements
from pondflight.web.ai import bodies, functions

CORPUS = Path(__file__).parent / "corpus"
_TOKENS = Tokens("fuzz-kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY")
_CHECK = CallerCheck(_TOKENS)


def _action(data: bytes) -> None:
    """The first line names the action, the rest is its body."""
    kind, _, body = data.partition(b"\n")
    decoding.decode_action(kind.decode("utf-8", "replace"), body)


def _headers(data: bytes) -> None:
    """The first line is the authorization header, the second the cookie."""
    authorization, _, cookie = data.decode("utf-8", "replace").partition("\n")
    _CHECK.authenticate("do_get", {"authorization": [authorization], "cookie": [cookie]})


def _token(data: bytes) -> None:
    """A JWT, as a client sends it."""
    _TOKENS.verify(data.decode("utf-8", "replace"))


def _settings(data: bytes) -> None:
    """A configuration file."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(ConfigError):
            load(Path(file.name), environ={})


def _sql(data: bytes) -> None:
    """SQL text, as the guards of a worker read it: its tokens lie in it, one after the other."""
    text = lexer.plain(data.decode("utf-8", "replace"))
    lexer.names(text)
    found = list(lexer.tokenize(text))
    assert all(token.start <= following.start for token, following in pairwise(found))
    assert all(0 <= token.start <= token.end for token in found)
    assert not found or found[-1].start < len(text.encode())


def _json(data: bytes) -> None:
    """The body of ``POST /query``, as JSON."""
    statements.decode(data, is_json=True)


def _text(data: bytes) -> None:
    """The body of ``POST /query``, as SQL text."""
    statements.decode(data, is_json=False)


def _chat(data: bytes) -> None:
    """A conversation in OpenAI's format."""
    body = bodies.Body(data)
    bodies.question(body, "claude", 100)
    functions.read(body)
    body.done()


def _inputs(data: bytes) -> None:
    """What is to be embedded, in OpenAI's format."""
    bodies.Body(data).need("input", bodies.inputs)


TARGETS: dict[str, Callable[[bytes], object]] = {
    "command": decoding.decode_command,
    "ticket": decoding.decode_ticket,
    "action": _action,
    "handle": Handle.decode,
    "headers": _headers,
    "token": _token,
    "settings": _settings,
    "sql": _sql,
    "http-json": _json,
    "http-text": _text,
    "http-chat": _chat,
    "http-inputs": _inputs,
}


def replay(target: str, data: bytes) -> None:
    """Run one input; anything but an answer or the caller's own fault is raised."""
    with contextlib.suppress(InvalidArgument, NotFound, NotSupported, Unauthenticated):
        TARGETS[target](data)
