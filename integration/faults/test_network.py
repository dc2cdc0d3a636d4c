"""Legs that break after any number of bytes: what comes is whole or an error, and soon."""

from __future__ import annotations

import http.client
import os
import random
import time
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pytest
from pyarrow import flight

from integration.conftest import Deploy
from integration.deployment import Deployment
from integration.faults.network import Kind, broken, listening
from tests.faults.test_cut_connections import FORMS, ROWS, SUM, fetch, over_http, upload
from tests.flight import Client

ROUNDS = int(os.environ.get("ROUNDS", "2"))
"""For each leg and each way to break it."""
SECONDS = 45.0
"""Until the last one knows: keepalive takes 30 of them."""
CONFIG = {"security": {"rate_limit": {"requests_per_minute": 1_000_000, "burst_size": 1_000_000}}}
PORTS: dict[str, Callable[[Deployment], int]] = {
    "client-proxy": lambda deployment: deployment.flight_port,
    "client-http": lambda deployment: deployment.http_port,
    "proxy-worker": lambda deployment: listening(*deployment.workers()),
}
pytestmark = pytest.mark.timeout(60 + 600 * ROUNDS)


def client(deployment: Deployment) -> Client:
    return Client(deployment.flight_uri, deployment.token("ada"))


def ingest(deployment: Deployment) -> tuple[int, int]:
    return upload(client(deployment))


def query(deployment: Deployment) -> tuple[int, int]:
    return fetch(client(deployment))


@pytest.mark.parametrize("kind", ["silence", "reset"])
@pytest.mark.parametrize("leg", PORTS)
def test_what_comes_is_whole_or_an_error(deployment: Deployment, leg: str, kind: Kind) -> None:
    ways: list[Callable[[], tuple[int, int]]] = [
        lambda accept=accept: over_http(deployment.http_port, deployment.token("ada"), accept, 20)  # type: ignore[misc]
        for accept in FORMS
    ]
    if leg != "client-http":
        ways += [lambda: ingest(deployment), lambda: query(deployment)]
    chance, outcomes = random.Random(f"{leg} {kind}"), Counter[str]()
    for _ in range(ROUNDS):
        for way in ways:
            _served(deployment)
            began = time.monotonic()
            with broken(PORTS[leg](deployment), kind, chance.randrange(800_000)):
                try:
                    assert way() == (ROWS, SUM), "it was cut, and looked whole"
                    outcomes["whole"] += 1
                except (flight.FlightError, pa.ArrowException, OSError, http.client.HTTPException):
                    outcomes["error"] += 1
            assert time.monotonic() - began < SECONDS
    assert outcomes["error"] > 0, outcomes
    _served(deployment)


def _served(deployment: Deployment) -> None:
    """As soon as nothing is broken any more."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            client(deployment).rows("CREATE TABLE IF NOT EXISTS t (i BIGINT)")
            assert client(deployment).rows("SELECT 42") == [(42,)]
        except flight.FlightError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        else:
            return


def test_a_stream_over_a_leg_that_has_gone_silent_ends_with_an_error(deploy: Deploy) -> None:
    deployment = deploy(CONFIG)
    ada = client(deployment)
    reader = ada.reader("SELECT * FROM range(1000000000)")
    reader.read_chunk()
    began = time.monotonic()
    with broken(listening(*deployment.workers()), "silence", 0):
        with pytest.raises(flight.FlightUnavailableError):
            while True:
                reader.read_chunk()
        assert time.monotonic() - began < SECONDS
    _served(deployment)
