"""A proxy whose container may have few threads: calls are refused in good order, and it lives."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pyarrow import flight

from integration.docker.engine import IMAGE, Engine
from pondflight.auth.tokens import Tokens
from tests.ports import free_ports

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"
HEAVY = b"SELECT count(*) FROM range(20000000) a WHERE hash(a.range) = 3"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("limit", [("--pids-limit", "200"), ("--ulimit", "nofile=150:150")])
def test_calls_beyond_the_limit_are_unavailable(engine: Engine, limit: tuple[str, str]) -> None:
    (port,) = free_ports(1)
    container = engine.docker(
        *("run", "--detach", "--init", *limit, "--env", f"JWT_SECRET={SECRET}"),
        *("--publish", f"127.0.0.1:{port}:8081", IMAGE, "serve"),
    )
    token = Tokens(SECRET).mint("ann", timedelta(hours=1))
    options = flight.FlightCallOptions(
        headers=[(b"authorization", f"Bearer {token}".encode())], timeout=60
    )

    def ask(sql: bytes) -> str:
        try:
            with flight.FlightClient(f"grpc://127.0.0.1:{port}") as client:
                info = client.get_flight_info(flight.FlightDescriptor.for_command(sql), options)
                client.do_get(info.endpoints[0].ticket, options).read_all()
        except flight.FlightUnavailableError:  # by the proxy, or no connection was to be had
            return "unavailable"
        return "answered"

    deadline = time.monotonic() + 40
    while ask(b"SELECT 1") != "answered":
        assert time.monotonic() < deadline, engine.docker("logs", container)
        time.sleep(0.3)
    with ThreadPoolExecutor(70) as callers:
        outcomes = Counter(callers.map(ask, [HEAVY] * 70))
    assert outcomes["answered"] > 0
    assert outcomes["unavailable"] > 0
    assert ask(b"SELECT 1") == "answered"
    assert "pthread_create" not in engine.docker("logs", container)
