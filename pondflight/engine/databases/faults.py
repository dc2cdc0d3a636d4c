"""Recognises the errors of DuckDB's extensions when a server fails, and what may be told of them.

These errors contain addresses and user names, and do not name the database. None of their text is
passed on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What is wrong with a connection."""

    AWAY = auto()
    """No server answers, or none that accepts connections."""
    REFUSED = auto()
    """It answers, but refuses our login."""
    TWINS = auto()
    """The names of some tables are equal to DuckDB, so that none can be listed."""
    CROWDED = auto()
    """It has no free connection."""
    BROKEN = auto()
    """A connection ended while it was in use."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed connection: ``reason`` in a few words, and the ``port`` of the gate if known."""

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
    """Return the fault that DuckDB's error ``text`` reports; ``None``: another kind of error."""
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
"""How libpq names an address, also in the error of a server that failed to reach another one."""


def without_addresses(text: str) -> str:
    """Return ``text`` without the addresses of servers that could not be reached."""
    return _PEER.sub("connection to a server", text)


_MISSING = re.compile(
    r'Catalog "(?P<a>[^"]+)" does not exist|Catalog with name (?P<b>\S+) does not exist'
    r'|because schema "(?P<c>[^"]+)" does not exist|Schema with name (?P<d>\S+) does not exist'
    r'|No catalog \+ schema named "(?P<e>[^"]+)"|attached database "(?P<f>[^"]+)"'
    r'|database "(?P<g>[^"]+)" (?:does not exist|not found)'
)


def missing_name(text: str) -> str | None:
    """Return the catalog that DuckDB's error ``text`` says does not exist, in lower case."""
    found = _MISSING.search(text)
    if found is None:
        return None
    name: str = next(filter(None, found.groups()))
    return name.strip("\"'!").partition(".")[0].lower()
