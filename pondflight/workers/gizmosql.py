"""The connection to a GizmoSQL or SQLFlite: Basic login once, then its Bearer token.

Such a worker has no control channel. Databases are attached by SQL over the connection, so that no
password is in an environment variable or in its log. What only the worker itself could report stays
unknown.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pyarrow import flight

from pondflight import control, dsn
from pondflight.control import Json
from pondflight.dsn import Dsn
from pondflight.errors import DeadlineExceeded, NotSupported, Unauthenticated, Unavailable
from pondflight.flightsql import wire
from pondflight.flightsql.commands import StatementQuery
from pondflight.flightsql.decoding import decode_command
from pondflight.flightsql.status import ConnectionLost, from_pyarrow
from pondflight.workers.connection import STATUS_SECONDS, WorkerStatus, open_client, run_sql
from pondflight.workers.losses import KeptSessions

USERNAME = "pondflight"

_SECRET = {
    "socket",  # part of the login
    "sslpassword",
    "scram_client_key",
    "scram_server_key",
    "oauth_client_secret",
}
"""Options that are not put into the path of an ATTACH, since users can see it."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:/-]+")


class LoginConnection:
    """A connection to a worker that takes a user name and a password, and returns a token."""

    def __init__(self, location: str, credential: str) -> None:
        self.client = _CommandClient(open_client(location))
        self.kept = KeptSessions()
        self.fetched: deque[str] = deque(maxlen=0)
        self._password = credential
        self._lock = threading.Lock()
        self._token: tuple[bytes, bytes] | None = None
        self._databases: list[Json] = []

    def options(
        self,
        *,
        session: str = "",
        offer: str | None = None,
        call_id: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> flight.FlightCallOptions:
        """Return options with the token.

        All calls share one session, since each login opens a new one. Raises ``NotSupported`` for
        calls that may only query: only our own workers can enforce that.
        """
        if control.QUERY_HEADER in headers:
            raise NotSupported(
                "SQL that no person has written runs on workers of pondflight's own image only "
                "(containers.engine)"
            )
        return flight.FlightCallOptions(timeout=timeout, headers=[self._login(timeout)])

    def configure(self, configuration: Json, *, owner: str, timeout: float) -> None:
        """Attach the databases to the worker."""
        self._databases = configuration.get("databases", [])
        self._attach(timeout)

    def _attach(self, timeout: float) -> None:
        options = self.options(timeout=timeout)
        for database in self._databases:
            for sql in attaching(database):
                try:
                    run_sql(self.client, sql, options)
                except (ConnectionLost, DeadlineExceeded):
                    raise
                except Exception:  # noqa: BLE001  the message may quote the statement
                    message = f"database {database['alias']!r} cannot be attached"
                    raise Unavailable(message) from None

    def ping(self, *, timeout: float) -> None:
        """Run ``SELECT 1``; log in again if the token is not known any more.

        It may have expired, or the worker was restarted: then the databases are missing, too.
        """
        try:
            run_sql(self.client, "SELECT 1", self.options(timeout=timeout))
        except Unauthenticated:
            with self._lock:
                self._token = None
            self._attach(timeout)
            run_sql(self.client, "SELECT 1", self.options(timeout=timeout))

    def status(self, *, timeout: float = STATUS_SECONDS, last: bool = False) -> WorkerStatus:
        """Ping the worker and return an empty status: it reports nothing more."""
        self.ping(timeout=timeout)
        return WorkerStatus()

    def retire(self, quiet: float, *, timeout: float) -> bool:
        """Return True: the worker cannot be asked to take no more."""
        return True

    def cancel(self, call_id: str) -> None:
        """Do nothing: the worker notices by itself that its client is gone."""

    def statements(self, text: str, *, timeout: float) -> list[Json]:
        """Return an empty list: the worker does not list its statements."""
        return []

    def cancel_statement(self, statement: str, *, timeout: float) -> bool:
        """Return False: the worker cannot cancel a statement by its id."""
        return False

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self.client.close()

    def _login(self, timeout: float | None) -> tuple[bytes, bytes]:
        with self._lock:
            if self._token is None:
                options = flight.FlightCallOptions(timeout=timeout or STATUS_SECONDS)
                try:
                    self._token = self.client.authenticate_basic_token(
                        USERNAME, self._password, options
                    )
                except Exception as error:
                    leaf = from_pyarrow(error)
                    if isinstance(leaf, Unauthenticated | DeadlineExceeded):
                        raise leaf from error
                    # Nobody listens yet, which the error of a handshake does not say.
                    raise ConnectionLost("the login was not answered") from error
            return self._token


class _CommandClient:
    """A Flight client that sends SQL text as the command that every Flight SQL server knows."""

    def __init__(self, client: flight.FlightClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_flight_info(
        self, descriptor: flight.FlightDescriptor, options: flight.FlightCallOptions
    ) -> flight.FlightInfo:
        """Call GetFlightInfo with the descriptor's SQL as a statement query."""
        return self._client.get_flight_info(_spoken(descriptor), options)

    def get_schema(
        self, descriptor: flight.FlightDescriptor, options: flight.FlightCallOptions
    ) -> flight.SchemaResult:
        """Call GetSchema with the descriptor's SQL as a statement query."""
        return self._client.get_schema(_spoken(descriptor), options)


def _spoken(descriptor: flight.FlightDescriptor) -> flight.FlightDescriptor:
    command = decode_command(descriptor.command)
    if not (isinstance(command, StatementQuery) and command.plain):
        return descriptor
    message = wire.new("CommandStatementQuery", query=command.query)
    return flight.FlightDescriptor.for_command(wire.pack(message))


def attaching(database: Json) -> Iterator[str]:
    """Yield the statements that attach one entry of ``duckdb.attached_databases``. Safe to repeat.

    The password goes into a DuckDB secret, since ``duckdb_databases()`` would show it in the path.
    """
    alias, kind, where = database["alias"], database["type"], database["connection_string"]
    options = [] if kind == "duckdb" else [f"TYPE {kind}"]
    if kind in dsn.SCHEMES:
        found = dsn.parse(kind, where)
        name = _quoted(f"pondflight_{alias}")
        login = ", ".join(f"{field} {_literal(value)}" for field, value in _login_of(found))
        yield f"CREATE OR REPLACE SECRET {name} (TYPE {kind}, {login})"
        options.append(f"SECRET {name}")
        where = " ".join(_option(kind, k, v) for k, v in found.options.items() if k not in _SECRET)
    if database["read_only"]:
        options.append("READ_ONLY")
    clause = f" ({', '.join(options)})" if options else ""
    yield f"ATTACH IF NOT EXISTS {_literal(where)} AS {_quoted(alias)}{clause}"


def _login_of(found: Dsn) -> Iterator[tuple[str, str]]:
    """Yield the options for address and login.

    Of several hosts, libpq takes the first to answer.
    """
    fields = {
        "HOST": ",".join(address.host for address in found.addresses),
        "PORT": ",".join(str(address.port) for address in found.addresses),
        "DATABASE": found.database,
        "USER": found.user,
        "PASSWORD": found.password,
        "SOCKET": found.options.get("socket", ""),
    }
    return ((name, value) for name, value in fields.items() if value)


def _option(kind: str, name: str, value: str) -> str:
    """Return an option as the client library reads it in the path of an ATTACH."""
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    quote = '"' if kind == dsn.MYSQL else "'"
    escaped = value.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return f"{name}={quote}{escaped}{quote}"


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
