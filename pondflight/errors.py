"""Every error that may leave the process, and nothing else may.

::

    PondflightError
    ├── ConfigError              the configuration cannot be used; the process does not start
    ├── InvalidArgument          the caller's input is wrong: fix it and call again
    │   ├── SqlError             DuckDB refused the statement; the message is DuckDB's own
    │   └── AlreadyExists        the name is taken
    ├── Unauthenticated          no valid token
    ├── PermissionDenied         a valid token, but not for this
    ├── NotFound                 no such handle, transaction, session or table
    ├── NotSupported             a part of the protocol that is not offered
    ├── Unavailable              not now; try again after ``retry_after`` seconds
    │   └── LimitExceeded        a limit of the caller's own is used up
    ├── DeadlineExceeded         a time limit of the statement or the start passed
    ├── Cancelled                the caller, or a shutdown, ended the call
    └── Internal                 our fault; the log has the details under the reference given

A leaf knows the Flight status that its clients see and the HTTP status that the web answers
with. ``flightsql.status`` turns a leaf into the exception that pyarrow understands, and
anything that is not a leaf into ``Internal``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

MESSAGE_LIMIT = 1500
"""Longest message, in bytes of UTF-8.

gRPC carries an error text several times in 8 KB of trailers; above about 5 KB pyarrow clients
lose the status altogether.
"""


class FlightStatus(StrEnum):
    """The gRPC statuses that a pyarrow server can send."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


class PondflightError(Exception):
    """Root of all errors that may leave the process.

    ``message`` says what is wrong and, where the caller can do something about it, what to do.
    """

    flight: ClassVar[FlightStatus] = FlightStatus.INTERNAL
    http: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = clip(message)

    def __str__(self) -> str:
        return self.message


class ConfigError(PondflightError):
    """The configuration cannot be used; ``problems`` has one sentence for each thing wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class InvalidArgument(PondflightError):
    """The caller's input is wrong."""

    flight = FlightStatus.INVALID_ARGUMENT
    http = 400


class SqlError(InvalidArgument):
    """DuckDB refused the statement; the message is DuckDB's own."""


class AlreadyExists(InvalidArgument):
    """The name is taken. Flight sends INVALID_ARGUMENT: pyarrow cannot send ALREADY_EXISTS."""

    http = 409


class Unauthenticated(PondflightError):
    """No valid token. One constant text, so that it tells a stranger nothing."""

    flight = FlightStatus.UNAUTHENTICATED
    http = 401

    TEXT: ClassVar[str] = (
        "authentication failed: send a valid, unexpired token as 'authorization: Bearer <JWT>'"
    )

    def __init__(self) -> None:
        super().__init__(self.TEXT)


class PermissionDenied(PondflightError):
    """The token is valid, but does not permit this."""

    flight = FlightStatus.PERMISSION_DENIED
    http = 403


class NotFound(PondflightError):
    """No such handle, transaction, session or table."""

    flight = FlightStatus.NOT_FOUND
    http = 404


class NotSupported(PondflightError):
    """A part of the protocol that is not offered."""

    flight = FlightStatus.UNIMPLEMENTED
    http = 501


class Unavailable(PondflightError):
    """Not now. ``retry_after`` (seconds) is set where a wait is known to help."""

    flight = FlightStatus.UNAVAILABLE
    http = 503

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LimitExceeded(Unavailable):
    """A limit of the caller's own (rate, sessions) is used up."""

    http = 429


class DeadlineExceeded(PondflightError):
    """A time limit passed."""

    flight = FlightStatus.DEADLINE_EXCEEDED
    http = 504


class Cancelled(PondflightError):
    """The caller, or a shutdown, ended the call."""

    flight = FlightStatus.CANCELLED
    http = 499


class Internal(PondflightError):
    """Our fault. The message holds a reference under which the log has the details."""


def clip(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8, cut at a character, marked with ``…``."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode("utf-8")
    return data[: limit - 3].decode("utf-8", "ignore") + "…"
