"""A worker as the proxy sees it: a connection, what runs on it, and when it was last used."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import threading
import time
from typing import Any

from pyarrow import flight

from pondflight import control
from pondflight.errors import DeadlineExceeded, PondflightError, Unavailable
from pondflight.flightsql.status import ConnectionLost, from_pyarrow
from pondflight.workers.backends.base import WorkerHandle

_CONTROL_SECONDS = 5.0
_RETRY_SECONDS = 0.02
# Ids of calls are unique among the proxies that share a worker; nobody else can use them.
_PROCESS = secrets.token_hex(8)
_calls = itertools.count()


class Worker:
    """One ready worker."""

    def __init__(self, handle: WorkerHandle, credential: str) -> None:
        self.handle = handle
        self.client = flight.FlightClient(handle.location)
        self.in_flight = 0
        self.last_used = time.monotonic()
        self.started = time.monotonic()
        self._authorization = (b"authorization", f"Bearer {credential}".encode())

    def options(
        self,
        *,
        session: str = "",
        offer: str | None = None,
        call_id: str | None = None,
        timeout: float | None = None,
    ) -> flight.FlightCallOptions:
        """Headers of a call to this worker; ``timeout`` in seconds."""
        headers = [self._authorization, (control.SESSION_HEADER.encode(), session.encode())]
        if offer is not None:
            headers.append((control.OFFER_HEADER.encode(), offer.encode()))
        if call_id is not None:
            headers.append((control.CALL_HEADER.encode(), call_id.encode()))
        return flight.FlightCallOptions(timeout=timeout, headers=headers)

    def control(
        self, action: str, body: bytes = b"", *, timeout: float = _CONTROL_SECONDS
    ) -> dict[str, Any]:
        """Send one of ``pondflight.control``'s actions; its answer."""
        try:
            results = list(
                self.client.do_action(flight.Action(action, body), self.options(timeout=timeout))
            )
        except Exception as error:
            raise from_pyarrow(error) from error
        answer: dict[str, Any] = json.loads(results[0].body.to_pybytes())
        return answer

    def prepare(self, configuration: dict[str, Any], deadline: float) -> None:
        """Configure the worker and see it answer ``SELECT 1``, by ``deadline`` (monotonic)."""
        body = json.dumps(configuration).encode()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable("the worker was not ready in time")
            try:
                self.control(control.CONFIGURE, body, timeout=left)
                break
            except ConnectionLost:
                time.sleep(_RETRY_SECONDS)  # not listening yet
        self.ping(timeout=max(0.1, deadline - time.monotonic()))

    def ping(self, *, timeout: float) -> None:
        """Run ``SELECT 1``."""
        options = self.options(timeout=timeout)
        try:
            info = self.client.get_flight_info(
                flight.FlightDescriptor.for_command(b"SELECT 1"), options
            )
            self.client.do_get(info.endpoints[0].ticket, options).read_all()
        except Exception as error:
            raise from_pyarrow(error) from error

    def answers(self) -> bool:
        """Whether the worker can be reached, and says something, whatever it says."""
        try:
            self.control(control.STATUS)
        except (ConnectionLost, DeadlineExceeded):
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self.client.close()


class Lease:
    """The right to use a worker for one call. A leased worker is never stopped for idleness."""

    def __init__(self, worker: Worker, lock: threading.Lock) -> None:
        self.worker = worker
        self.call_id = f"{_PROCESS}-{next(_calls)}"
        self._lock = lock
        self._open = True

    def release(self) -> None:
        """The call is over. May be called twice."""
        with self._lock:
            if self._open:
                self._open = False
                self.worker.in_flight -= 1
                self.worker.last_used = time.monotonic()

    def cancel(self) -> None:
        """Ask the worker to cancel this call; a failure to reach it is no matter."""
        with contextlib.suppress(PondflightError):
            self.worker.control(control.CANCEL, self.call_id.encode())
