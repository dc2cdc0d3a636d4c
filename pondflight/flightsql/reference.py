"""Writes docs/errors.md from the error tree: ``python -m pondflight.flightsql.reference``.

What a client raises for a status depends on the client; the tables below say it, and a test sees
each of them happen.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass

from pondflight import errors
from pondflight.errors import MESSAGE_LIMIT, FlightStatus, PondflightError


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients raise for a status: the class in pyarrow, and in ADBC's DB-API."""

    pyarrow: str
    adbc: str


CLIENTS: dict[FlightStatus, Seen] = {
    FlightStatus.INVALID_ARGUMENT: Seen("ArrowInvalid", "ProgrammingError"),
    FlightStatus.UNAUTHENTICATED: Seen("FlightUnauthenticatedError", "ProgrammingError"),
    FlightStatus.PERMISSION_DENIED: Seen("FlightUnauthorizedError", "ProgrammingError"),
    FlightStatus.NOT_FOUND: Seen("ArrowKeyError", "ProgrammingError"),
    FlightStatus.UNIMPLEMENTED: Seen("ArrowNotImplementedError", "NotSupportedError"),
    FlightStatus.UNAVAILABLE: Seen("FlightUnavailableError", "OperationalError"),
    FlightStatus.DEADLINE_EXCEEDED: Seen("FlightTimedOutError", "OperationalError"),
    FlightStatus.CANCELLED: Seen("FlightCancelledError", "OperationalError"),
    FlightStatus.INTERNAL: Seen("FlightInternalError", "InternalError"),
}

_TEXT = """\
# Errors

Made by `make reference` from `pondflight/errors.py`; do not edit it by hand.

Every error that leaves pondflight is one of these. The message says what is wrong and, where you
can do something about it, what to do. DuckDB's own messages arrive as DuckDB wrote them, with
their line numbers. A message has {limit:,} bytes of UTF-8 at most; a longer one is cut and ends
in `…`. There is never a traceback in it. An `Internal` error carries a reference: the server's log
has the details under it.

| error | when | Flight (gRPC) | HTTP | pyarrow raises | ADBC raises |
|---|---|---|---|---|---|
{rows}

JDBC raises `java.sql.SQLException` for all of them; the status is the code of its cause, a
`FlightRuntimeException`. In Go, `status.Code(err)` is the gRPC status.

Three things that pyarrow's server cannot do, and that you may meet:

- It has no ALREADY_EXISTS, RESOURCE_EXHAUSTED or FAILED_PRECONDITION. A table that is there
  already is INVALID_ARGUMENT over Flight; a limit that is used up is UNAVAILABLE.
- GetSchema (`adbc_execute_schema` in ADBC) has UNKNOWN in place of PERMISSION_DENIED, UNAVAILABLE,
  DEADLINE_EXCEEDED, CANCELLED and INTERNAL. The message is the same.
- Behind the message may stand `Detail: Python exception: …`. It is pyarrow's, and says nothing
  that the status does not.
"""


def leaves() -> list[type[PondflightError]]:
    """Return the errors that clients can get, in the order of the tree."""
    found = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, PondflightError)
        and kind not in (PondflightError, errors.ConfigError)
        and kind.__module__ == errors.__name__
    ]
    return sorted(found, key=lambda kind: inspect.getsourcelines(kind)[1])


def page() -> str:
    """Return the text of docs/errors.md."""
    rows = []
    for kind in leaves():
        seen = CLIENTS[kind.flight]
        when = re.sub(r"``?", "`", (kind.__doc__ or "").partition("\n")[0])
        cells = (kind.__name__, when, kind.flight.value, kind.http, seen.pyarrow, seen.adbc)
        rows.append("| {} | {} | {} | {} | `{}` | `{}` |".format(*cells))
    return _TEXT.format(limit=MESSAGE_LIMIT, rows="\n".join(rows))


if __name__ == "__main__":
    sys.stdout.write(page())
