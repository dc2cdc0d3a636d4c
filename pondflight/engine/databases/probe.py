"""Asks a database server whether it answers: the start of its protocol, without a login.

A TCP connection proves little: a hanging server still accepts connections, and one that is starting
accepts connections and refuses logins.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from enum import Enum, auto

from pondflight.dsn import MYSQL, POSTGRES, Dsn
from pondflight.engine.databases.gate import Upstream


class Answer(Enum):
    """How a server answers a new connection, before any login."""

    NONE = auto()
    """No answer, or the server is starting or stopping."""
    CROWDED = auto()
    """The server runs, but has no free connection."""
    READY = auto()
    """The server asks for a login."""


_PROTOCOL_3 = 196608
_CANNOT_CONNECT_NOW = b"C57P03\0"
_TOO_MANY_CONNECTIONS = b"C53300\0"
_LONGEST_ANSWER = 4096
_MYSQL_HEADER = 4
_MYSQL_ERROR = 0xFF


def ask(system: str, dsn: Dsn, upstream: Upstream) -> Answer:
    """Connect to a server, read its first answer, and leave, within the connect time-out."""
    try:
        with upstream.connect() as connection:
            return _WAYS[system](connection, dsn)
    except OSError:
        return Answer.NONE


def _postgres(connection: socket.socket, dsn: Dsn) -> Answer:
    words = {"user": dsn.user or "pondflight", "database": dsn.database}
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in words.items()) + b"\0"
    connection.sendall(struct.pack("!II", len(body) + 8, _PROTOCOL_3) + body)
    answer = connection.recv(_LONGEST_ANSWER)
    if not answer or _CANNOT_CONNECT_NOW in answer:
        return Answer.NONE
    # Any other complaint is about us: we speak without encryption.
    return Answer.CROWDED if _TOO_MANY_CONNECTIONS in answer else Answer.READY


def _mysql(connection: socket.socket, _: Dsn) -> Answer:
    greeting = b""
    while len(greeting) <= _MYSQL_HEADER:
        received = connection.recv(_LONGEST_ANSWER)
        if not received:
            return Answer.NONE
        greeting += received
    return Answer.CROWDED if greeting[_MYSQL_HEADER] == _MYSQL_ERROR else Answer.READY


_WAYS: dict[str, Callable[[socket.socket, Dsn], Answer]] = {POSTGRES: _postgres, MYSQL: _mysql}
