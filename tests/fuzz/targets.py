"""What is fuzzed: everything that decodes bytes of a client before anybody knows what they are.

A target takes any bytes. It gives something, or raises an error leaf that blames the caller;
whatever else it raises is a bug.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from pondflight.auth.tokens import Tokens
from pondflight.engine.execution.handles import Handle
from pondflight.errors import InvalidArgument, NotFound, NotSupported, Unauthenticated
from pondflight.flightsql import decoding
from pondflight.proxy.callers import CallerCheck

CORPUS = Path(__file__).parent / "corpus"
_CHECK = CallerCheck(Tokens("fuzz-kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"))


def _action(data: bytes) -> None:
    """The first line names the action, the rest is its body."""
    kind, _, body = data.partition(b"\n")
    decoding.decode_action(kind.decode("utf-8", "replace"), body)


def _headers(data: bytes) -> None:
    """The first line is the authorization header, the second the cookie."""
    authorization, _, cookie = data.decode("utf-8", "replace").partition("\n")
    _CHECK.authenticate("do_get", {"authorization": [authorization], "cookie": [cookie]})


TARGETS: dict[str, Callable[[bytes], object]] = {
    "command": decoding.decode_command,
    "ticket": decoding.decode_ticket,
    "action": _action,
    "handle": Handle.decode,
    "headers": _headers,
}


def replay(target: str, data: bytes) -> None:
    """Run one input; anything but an answer or the caller's own fault is raised."""
    with contextlib.suppress(InvalidArgument, NotFound, NotSupported, Unauthenticated):
        TARGETS[target](data)
