"""What DuckDB's extensions say when a server fails them, and what of it anybody may be told.

Their errors have addresses and user names in them, and do not name the database. Here they are
recognised; none of their words go on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What is wrong with a connection."""

    AWAY = auto()
    """No server answers, or none that would talk."""
    REFUSED = auto()
    """It answers, and does not let us in."""
    TWINS = auto()
    """It has tables that DuckDB takes for each other, so that none can be listed."""
    CROWDED = auto()
    """It has no connection to spare."""
    BROKEN = auto()
    """A connection ended while it was in use."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed connection: ``reason`` in a few words, and the gate's ``port``, if that is known."""

    kind: Kind
    reason: str
    port: int | None = None


_CONNECTING = (
    re.compile(r"Unable to connect to Postgres at(?:.*?port (\d+) failed)?", re.DOTALL),
    re.compile(r'Failed to connect to MySQL database with parameters "(?:port=(\d+))?'),
)
_REASONS = (
    (r"too many (?:clients|connections)|connection slots", Kind.CROWDED, "too many connections"),
    (r"starting up|shutting down|recovery mode", Kind.AWAY, "the server is starting or stopping"),
    (
        r"SSL|TLS|certificate",
        Kind.REFUSED,
        "the server and the connection string do not agree on encryption",
    ),
    (
        r'database ".*" does not exist|Unknown database|to database',
        Kind.REFUSED,
        "there is no such database, or not for this user",
    ),
    (
        r"authentication|Access denied|pg_hba|not allowed to connect|role .* does not exist",
        Kind.REFUSED,
        "the login is refused",
    ),
    (r"FATAL:|is blocked", Kind.REFUSED, "the server refuses the connection"),
    (r"", Kind.AWAY, "the server does not answer"),
)
_BROKEN = re.compile(
    r"server closed the connection unexpectedly|Lost connection to server|server has gone away"
    r"|terminating connection|could not (?:receive data from|send data to) (?:the )?server"
    r"|no connection to the server|SSL SYSCALL error|SSL connection has been closed"
    r'|Failed to execute query "(?:ROLLBACK|COMMIT)": $',
    re.IGNORECASE,
)


def fault_of(text: str) -> Fault | None:
    """The fault that DuckDB's error ``text`` tells of; ``None``: it is about something else."""
    for pattern in _CONNECTING:
        found = pattern.search(text)
        if found is not None:
            port = int(found[1]) if found[1] else None
            kind, reason = next(
                (kind, reason)
                for sign, kind, reason in _REASONS
                if re.search(sign, text, re.IGNORECASE)
            )
            return Fault(kind, reason, port)
    return Fault(Kind.BROKEN, "the connection broke") if _BROKEN.search(text) else None


_PEER = re.compile(r"\bconnection to server (?:at|on socket) .*?(?= failed)")
"""As libpq puts it, also in the words of a server that has failed to reach another."""


def without_addresses(text: str) -> str:
    """``text`` without the address of any server that could not be reached."""
    return _PEER.sub("connection to a server", text)


_MISSING = re.compile(
    r'Catalog "(?P<a>[^"]+)" does not exist|Catalog with name (?P<b>\S+) does not exist'
    r'|because schema "(?P<c>[^"]+)" does not exist|Schema with name (?P<d>\S+) does not exist'
    r'|No catalog \+ schema named "(?P<e>[^"]+)"|attached database "(?P<f>[^"]+)"'
    r'|database "(?P<g>[^"]+)" (?:does not exist|not found)'
)


def missing_name(text: str) -> str | None:
    """The catalog that DuckDB's error ``text`` says there is none of; in lower case."""
    found = _MISSING.search(text)
    if found is None:
        return None
    name: str = next(filter(None, found.groups()))
    return name.strip("\"'!").partition(".")[0].lower()
