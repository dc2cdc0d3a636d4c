"""Converts our errors to the exceptions that pyarrow sends, and those it receives to ours.

pyarrow's server sends the full Python traceback of any exception that is not a ``FlightError``, and
``FlightError`` has no class for three statuses that clients need. A ``ValueError``, ``KeyError`` or
``NotImplementedError`` gets those three; and an exception whose ``__cause__`` cannot be read makes
pyarrow give up formatting the traceback and send the class name alone.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
from collections.abc import Callable
from typing import NoReturn

import pyarrow as pa
from pyarrow import flight

from pondflight.errors import (
    Cancelled,
    DeadlineExceeded,
    FlightStatus,
    Internal,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    NotSupported,
    PermissionDenied,
    PondflightError,
    Unauthenticated,
    Unavailable,
)

log = logging.getLogger(__name__)


class _Quiet(Exception):
    """Mixin: no traceback can be made of this exception, so none is sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:  # KeyError's own would add quotes
        return self.message

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise AttributeError("not for formatting")


# Clients see these names after the message, as "Detail: Python exception: InvalidArgument".
_InvalidArgument = type("InvalidArgument", (_Quiet, ValueError), {})
_NotFound = type("NotFound", (_Quiet, KeyError), {})
_NotImplemented = type("NotImplemented", (_Quiet, NotImplementedError), {})
_Other = type("Error", (_Quiet,), {})

_QUIET: dict[FlightStatus, Callable[[str], Exception]] = {
    FlightStatus.INVALID_ARGUMENT: _InvalidArgument,
    FlightStatus.NOT_FOUND: _NotFound,
    FlightStatus.UNIMPLEMENTED: _NotImplemented,
}
_FLIGHT: dict[FlightStatus, Callable[[str], Exception]] = {
    FlightStatus.UNAUTHENTICATED: flight.FlightUnauthenticatedError,
    FlightStatus.PERMISSION_DENIED: flight.FlightUnauthorizedError,
    FlightStatus.UNAVAILABLE: flight.FlightUnavailableError,
    FlightStatus.DEADLINE_EXCEEDED: flight.FlightTimedOutError,
    FlightStatus.CANCELLED: flight.FlightCancelledError,
    FlightStatus.INTERNAL: flight.FlightInternalError,
}


class ConnectionLost(Unavailable):
    """The server cannot be reached, or stopped answering half way."""


class NotConnected(ConnectionLost):
    """There was no connection, and none could be made: the call was never sent."""


def leaf_of(error: BaseException) -> PondflightError:
    """Return ``error`` if it is one of ours; else an ``Internal`` that tells only a reference."""
    if isinstance(error, PondflightError):
        return error
    return Internal(f"internal error, reference {secrets.token_hex(4)}: see the server's log")


def to_pyarrow(error: PondflightError, *, in_get_schema: bool = False) -> Exception:
    """Return the exception that makes pyarrow's server send ``error``.

    ``in_get_schema``: there pyarrow loses every ``FlightError`` (the client gets UNKNOWN with a
    traceback); the statuses that only ``FlightError`` can carry are sent as UNKNOWN, but clean.
    """
    kind = _QUIET.get(error.flight)
    if kind is None:
        kind = _Other if in_get_schema else _FLIGHT[error.flight]
    return kind(_wire_text(error))


_LIMIT = "limit exceeded: "
_RETRY = re.compile(r" \(retry after (\d+) s\)$")


def _wire_text(error: PondflightError) -> str:
    """Return the message with what the status alone would lose; ``_unavailable`` reads it again."""
    text = error.message
    if isinstance(error, LimitExceeded):
        text = _LIMIT + text
    if isinstance(error, Unavailable) and error.retry_after is not None:
        text = f"{text} (retry after {math.ceil(error.retry_after)} s)"
    return text


def _unavailable(text: str) -> PondflightError:
    seconds = _RETRY.search(text)
    retry_after = float(seconds[1]) if seconds else None
    text = text[: seconds.start()] if seconds else text
    if text.startswith(_LIMIT):
        return LimitExceeded(text.removeprefix(_LIMIT), retry_after=retry_after)
    return Unavailable(text, retry_after=retry_after)


_CONTEXT = ". gRPC client debug context: "
_DETAIL = re.compile(r"\. (?:Detail: (?:Python exception: \w+|[A-Z]\w+)|Client context: OK)\s*$")
_TRANSPORT = "Flight returned "
_CLOSED = "FlightClient is closed"
_NEVER_SENT = "failed to connect to all addresses"


def from_pyarrow(error: BaseException) -> PondflightError:
    """Return the error that one of our Flight servers raised, from pyarrow's client's exception.

    A failure of the connection itself is ``ConnectionLost``; its text is replaced, since gRPC's
    contains addresses. An exception that is not pyarrow's is logged, and becomes ``Internal``.
    """
    text = str(error).split(_CONTEXT, 1)[0]
    if text.startswith((_TRANSPORT, _CLOSED)) and not isinstance(
        error, flight.FlightCancelledError
    ):
        if isinstance(error, flight.FlightTimedOutError):
            return DeadlineExceeded("the server did not answer in time")
        if _NEVER_SENT in text or _CLOSED in text:  # closed here, since the server has ended
            return NotConnected("the server cannot be reached")
        return ConnectionLost("the connection to the server was lost")
    while match := _DETAIL.search(text):
        text = text[: match.start()]
    if isinstance(error, flight.FlightUnauthenticatedError):
        return Unauthenticated()
    for kind, leaf in _LEAVES:
        if isinstance(error, kind):
            return leaf(text)
    from_wire = isinstance(error, pa.ArrowException | flight.FlightError | OSError)
    return Internal(text) if from_wire else _unexpected(error)


def _unexpected(error: BaseException) -> PondflightError:
    leaf = leaf_of(error)
    log.error("%s", leaf.message, exc_info=error)
    return leaf


_LEAVES: tuple[tuple[type[BaseException], Callable[[str], PondflightError]], ...] = (
    (flight.FlightUnauthorizedError, PermissionDenied),
    (flight.FlightUnavailableError, _unavailable),
    (flight.FlightTimedOutError, DeadlineExceeded),
    (flight.FlightCancelledError, Cancelled),
    (pa.ArrowKeyError, NotFound),
    (pa.ArrowNotImplementedError, NotSupported),
    (pa.ArrowInvalid, InvalidArgument),
)
