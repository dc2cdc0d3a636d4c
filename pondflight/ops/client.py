"""The connection of an administrator's command line to the running proxy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pyarrow import flight

from pondflight import control
from pondflight.control import Json
from pondflight.errors import NotFound, Unavailable
from pondflight.flightsql.client import act_json, open_client
from pondflight.flightsql.status import ConnectionLost

SECONDS = 30.0
"""Seconds to wait for an answer."""


class AdminClient:
    """A connection to the proxy at ``url`` (``grpc://`` or ``grpc+tls://``).

    ``token_for`` returns a token that allows a given action. ``tls_ca``: file with the certificates
    to trust, in place of the system's.
    """

    def __init__(
        self, url: str, token_for: Callable[[str], str], tls_ca: Path | None = None
    ) -> None:
        self._url = url
        self._token_for = token_for
        roots = {} if tls_ca is None else {"tls_root_certs": tls_ca.read_bytes()}
        self._client = open_client(url, tls=roots)

    def workers(self) -> list[Json]:
        """Return all workers, as in the answer to ``control.WORKERS``."""
        workers: list[Json] = self._act(control.WORKERS, b"")["workers"]
        return workers

    def worker(self, wanted: str) -> Json:
        """Return one worker and its log (``control.WORKER``) by its id, name or user."""
        return self._act(control.WORKER, wanted.encode())

    def stop(self, wanted: str, *, force: bool) -> Json:
        """Stop a worker (``control.STOP_WORKER``) and return its state from before."""
        body = json.dumps({"worker": wanted, "force": force}).encode()
        worker: Json = self._act(control.STOP_WORKER, body)["worker"]
        return worker

    def _act(self, kind: str, body: bytes) -> Json:
        header = (b"authorization", f"Bearer {self._token_for(kind)}".encode())
        options = flight.FlightCallOptions(timeout=SECONDS, headers=[header])
        try:
            return act_json(self._client, kind, body, options)
        except ConnectionLost as error:
            raise Unavailable(
                f"nothing answers at {self._url}: is pondflight running there?"
            ) from error
        except NotFound as error:
            raise NotFound("there is no such worker: `pondflight workers list` has all") from error
