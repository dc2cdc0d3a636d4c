"""A Flight SQL server that behaves like GizmoSQL and SQLFlite, as seen from outside.

It is configured by environment variables; Basic login opens a session and returns a Bearer token.
It has one port, no TLS, no control channel, and accepts no SQL text as a command. DuckDB does the
work.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
from pyarrow import flight

from pondflight.engine import extensions, server
from pondflight.engine.guards.callers import Call, WorkerCall
from pondflight.engine.server import EngineServer
from pondflight.errors import InvalidArgument, NotSupported, Unauthenticated
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import Headers
from pondflight.flightsql.server import command_of

PREFIX = "GIZMOSQL" if "GIZMOSQL_PASSWORD" in os.environ else "SQLFLITE"
USERNAME, PASSWORD = os.environ[f"{PREFIX}_USERNAME"], os.environ[f"{PREFIX}_PASSWORD"]
LOGINS: list[str] = []


class BasicLogin:
    """User name and password once, then the token."""

    last_heard = 0.0

    def __init__(self, _: str) -> None:
        self._sessions: dict[str, str] = {}

    def authenticate(self, method: str, headers: Headers) -> WorkerCall:
        scheme, _, value = (headers.get("authorization") or [""])[0].partition(" ")
        if scheme == "Basic":
            if base64.b64decode(value).decode() != f"{USERNAME}:{PASSWORD}":
                raise Unauthenticated
            token = secrets.token_hex(16)
            self._sessions[token] = f"session-{len(self._sessions)}"
            print(f"login {len(self._sessions)}", flush=True)
            return WorkerCall(self._sessions[token], None, token)
        if scheme != "Bearer" or value not in self._sessions:
            raise Unauthenticated
        return WorkerCall(self._sessions[value], None, None)

    def response_headers(
        self, method: str, headers: Headers, identity: WorkerCall
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {identity.call_id}"} if identity.call_id else {}


class StandIn(EngineServer):
    """The server, without a control channel, for commands only."""

    def on_get_flight_info(
        self, call: Call, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        command = command_of(descriptor)
        if isinstance(command, c.StatementQuery):
            if command.plain:
                raise InvalidArgument("the descriptor is not a Flight SQL command")
            if os.environ["PRINT_QUERIES"] == "1":
                print(command.query, flush=True)
        return super().on_get_flight_info(call, descriptor)

    def on_do_action(self, call: Call, kind: str, body: bytes) -> Iterable[bytes]:
        if kind.startswith("pondflight."):
            raise NotSupported(f"unknown action {kind}")
        return super().on_do_action(call, kind, body)


def main() -> None:
    assert os.environ["TLS_ENABLED"] == "0"
    assert os.environ["DATABASE_BACKEND"] == "duckdb"
    config: dict[str, Any] = {"allow_unsigned_extensions": "true"}
    database = duckdb.connect(os.environ["DATABASE_FILENAME"], config=config)
    extensions.load(database, ["sqlite", "postgres"])
    server.CredentialCheck = BasicLogin  # type: ignore[assignment,attr-defined]
    options: dict[str, Any] = {"credential_sha256": "", "scratch": Path(os.environ["TMPDIR"])}
    standin = StandIn("grpc://0.0.0.0:31337", database=database, **options)
    print(f"{PREFIX} listens on {standin.port}", file=sys.stderr, flush=True)
    threading.Event().wait()


main()
