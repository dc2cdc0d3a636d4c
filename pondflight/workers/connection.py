"""The proxy's connection to one worker: users' calls, and the pool's own messages.

There is one kind of connection for our own workers, and one for other images
(``pondflight.workers.gizmosql``).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from pyarrow import flight

from pondflight import control
from pondflight.control import Json
from pondflight.errors import InvalidArgument, NotSupported
from pondflight.flightsql import client, wire
from pondflight.flightsql.status import from_pyarrow
from pondflight.workers.losses import KeptSessions

STATUS_SECONDS = 3.0

SIBLINGS = "PONDFLIGHT_SIBLINGS"
"""Variable with what the ids of all proxies begin with that see each other's changes at once."""

PROXY = ".".join(filter(None, (os.environ.get(SIBLINGS), secrets.token_hex(8))))
"""The id of this proxy, which tells workers the proxies that share them apart."""
_CANCEL_SECONDS = 5.0
_MOST_FETCHED = 100
"""As many as a worker's journal has entries."""

_CHANNEL = [
    # The proxy itself decides what may be sent twice.
    ("grpc.enable_retries", 0),
    # A worker that starts refuses connections for half a second: ask again soon.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    # If a network drops packets in silence, TCP notices it: these two set TCP_USER_TIMEOUT, and the
    # health checks on the same connection make sure that there is something to acknowledge. gRPC's
    # own pings are not sent beside them; without the checks, pyarrow's server would close the
    # connection with "too many pings", which cannot be configured.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker says of itself; None where it cannot say.

    ``owner``         key of the user whom it serves; empty: nobody yet
    ``promised``      a user was named, and is not served yet
    ``running``       statements, of all proxies
    ``idle_seconds``  since the last statement of any proxy
    ``memory``        resident, in bytes
    ``cpu_seconds``   since its start
    ``other_proxies`` that have asked for its status within 30 s
    ``missing_walls`` of the operating system around it, in words
    ``retired``       it takes no statements any more, and waits for its end
    ``fresh``         nobody has configured it: only its starter may, or has given it up
    ``takes_actions`` by GetFlightInfo as well (``control.ACTION_HEADER``)
    """

    owner: str | None = None
    promised: bool = False
    running: int | None = None
    idle_seconds: float | None = None
    memory: int | None = None
    cpu_seconds: float | None = None
    other_proxies: int = 0
    missing_walls: tuple[str, ...] = ()
    retired: bool = False
    fresh: bool = False
    takes_actions: bool = False


class Connection(Protocol):
    """A connection to a worker. Methods raise our own errors.

    ``ConnectionLost`` means that nobody listens, or not any more.
    """

    client: flight.FlightClient
    """Accepts whatever clients send, including SQL text in place of a command."""

    kept: KeptSessions
    """The sessions for which it keeps state; empty if it cannot tell."""

    fetched: deque[str]
    """The ids of promised rows that it has not been told of yet (``control.FETCHED_HEADER``)."""

    def options(
        self,
        *,
        session: str = "",
        offer: str | None = None,
        call_id: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> flight.FlightCallOptions:
        """Return options for a user's call; ``timeout`` in seconds, ``headers`` for traces."""

    def configure(self, configuration: Json, *, owner: str, timeout: float) -> None:
        """Give the worker to ``owner`` (a user's key), with the configuration that it needs.

        Safe to repeat. Raises ``PermissionDenied`` if it is somebody else's. An empty ``owner``
        only prepares a worker that is still nobody's.
        """

    def ping(self, *, timeout: float) -> None:
        """Run ``SELECT 1``."""

    def status(self, *, timeout: float = STATUS_SECONDS, last: bool = False) -> WorkerStatus:
        """Return what the worker reports about itself. ``last``: this proxy is about to end."""

    def retire(self, quiet: float, *, timeout: float) -> bool:
        """Let it take no more statements, if none runs or has run for ``quiet`` seconds.

        Returns whether that is so, and it may be ended; True if it cannot say.
        """

    def cancel(self, call_id: str) -> None:
        """Cancel the running call with this id."""

    def statements(self, text: str, *, timeout: float) -> list[Json]:
        """Return its running and recent statements (``control.STATEMENTS``); empty if unknown."""

    def cancel_statement(self, statement: str, *, timeout: float) -> bool:
        """Cancel a statement by its id; return whether it was running."""

    def close(self) -> None:
        """Close the connection."""


class ControlConnection:
    """A connection to one of our own workers: Flight SQL and ``pondflight.control``."""

    def __init__(self, location: str, credential: str) -> None:
        self.kept = KeptSessions()
        self.fetched: deque[str] = deque(maxlen=_MOST_FETCHED)
        self.client = open_client(location, self.kept.listener)
        self._authorization = (b"authorization", f"Bearer {credential}".encode())

    def options(
        self,
        *,
        session: str = "",
        offer: str | None = None,
        call_id: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> flight.FlightCallOptions:
        """Return call options with the credential, the session and the id of the call."""
        more = [(name.encode(), value.encode()) for name, value in headers.items()]
        if self.fetched:
            ids = ",".join(_taken(self.fetched))
            more.append((control.FETCHED_HEADER.encode(), ids.encode()))
        session_header = (control.SESSION_HEADER.encode(), session.encode())
        pairs = [self._authorization, session_header, *more]
        if offer is not None:
            pairs.append((control.OFFER_HEADER.encode(), offer.encode()))
        if call_id is not None:
            pairs.append((control.CALL_HEADER.encode(), call_id.encode()))
        return flight.FlightCallOptions(timeout=timeout, headers=pairs)

    def configure(self, configuration: Json, *, owner: str, timeout: float) -> None:
        """Send ``control.CONFIGURE``."""
        body = {**configuration, "owner": owner}
        self._act(control.CONFIGURE, json.dumps(body).encode(), timeout)

    def ping(self, *, timeout: float) -> None:
        """Run ``SELECT 1``."""
        run_sql(self.client, "SELECT 1", self.options(timeout=timeout))

    def status(self, *, timeout: float = STATUS_SECONDS, last: bool = False) -> WorkerStatus:
        """Ask for ``control.STATUS`` and return it."""
        body = f"-{PROXY}" if last else PROXY
        answer = self._act(control.STATUS, body.encode(), timeout)
        return WorkerStatus(
            owner=answer["owner"],
            promised=answer.get("promised", False),
            running=answer["running"],
            idle_seconds=answer["idle_seconds"],
            memory=answer["rss_bytes"],
            cpu_seconds=answer["cpu_seconds"],
            other_proxies=answer.get("other_proxies", 0),
            missing_walls=tuple(answer.get("missing_walls", ())),
            retired=answer.get("retired", False),
            fresh=answer.get("fresh", False),
            takes_actions=answer.get("takes_actions", False),
        )

    def retire(self, quiet: float, *, timeout: float) -> bool:
        """Send ``control.RETIRE``; return True for an older worker that does not know it."""
        body = json.dumps({"quiet": quiet}).encode()
        try:
            return bool(self._act(control.RETIRE, body, timeout)["retired"])
        except (NotSupported, InvalidArgument):
            return True

    def cancel(self, call_id: str) -> None:
        """Send ``control.CANCEL`` for the call with this id."""
        self._act(control.CANCEL, call_id.encode(), _CANCEL_SECONDS)

    def statements(self, text: str, *, timeout: float) -> list[Json]:
        """Return the statements in the answer to ``control.STATEMENTS``."""
        answer = self._act(control.STATEMENTS, json.dumps({"text": text}).encode(), timeout)
        found: list[Json] = answer["statements"]
        return found

    def cancel_statement(self, statement: str, *, timeout: float) -> bool:
        """Send ``control.CANCEL_STATEMENT``; return whether the statement was running."""
        body = json.dumps({"statement": statement}).encode()
        return bool(self._act(control.CANCEL_STATEMENT, body, timeout)["cancelled"])

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self.client.close()

    def _act(self, action: str, body: bytes, timeout: float) -> Json:
        return client.act_json(self.client, action, body, self.options(timeout=timeout))


def _taken(ids: deque[str]) -> Iterator[str]:
    """Remove and yield all ids in the deque, even while others add more."""
    with contextlib.suppress(IndexError):
        while True:
            yield ids.popleft()


def open_client(location: str, *middleware: flight.ClientMiddlewareFactory) -> flight.FlightClient:
    """Return a Flight client with the settings of the proxy's connections to workers."""
    return client.open_client(location, channel=_CHANNEL, middleware=middleware)


def run_sql(connection: flight.FlightClient, sql: str, options: flight.FlightCallOptions) -> None:
    """Run a statement and read its rows, as any Flight SQL client does. Raises our errors."""
    command = wire.pack(wire.new("CommandStatementQuery", query=sql))
    descriptor = flight.FlightDescriptor.for_command(command)
    try:
        info = connection.get_flight_info(descriptor, options)
        for endpoint in info.endpoints:
            connection.do_get(endpoint.ticket, options).read_all()
    except Exception as error:
        raise from_pyarrow(error) from error
