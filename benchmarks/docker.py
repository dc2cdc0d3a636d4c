"""Workers in containers: how long a new user waits, and the memory of worker and proxy.

It runs on a Docker engine of its own (``integration/docker/engine.py``), so it needs root and
Debian's docker.io, slirp4netns and debootstrap; without them it says so and measures nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

from pyarrow import flight

from benchmarks.bench import MB, Server, beside_engine, percentile, served, show
from integration.docker.engine import BASE_IMAGE, IMAGE, VARIABLE, Engine
from pondflight.ops.client import AdminClient

_NEW_USERS = 40
_AT_ONCE = 50
_MANY = 100
_WARM = 3
_SECONDS = 60.0


def main() -> None:
    if os.environ.get(VARIABLE):
        _measure(Engine.current())
    elif os.geteuid() != 0 or shutil.which("dockerd") is None:
        print("\ndocker: not measured; it needs root and Debian's docker.io (see its docstring)")
    else:
        beside_engine("docker")


def _measure(engine: Engine) -> None:
    cold = _cold()
    warm = _warm()
    at_once, idle, proxy = _many(engine)
    rows = [
        ("new user, container included", *_percentiles(cold)),
        (f"new user, warm worker (workers.warm: {_WARM})", *_percentiles(warm)),
        (f"{_AT_ONCE} new users at once", *_percentiles(at_once)),
    ]
    show("First statement, in seconds; 0.5 cores a worker", ("", "p50", "p95", "slowest"), rows)
    ours, base = (
        int(engine.docker("image", "inspect", "--format", "{{.Size}}", name)) / MB
        for name in (IMAGE, BASE_IMAGE)
    )
    show(
        "Memory and disk, in MB",
        ("", "MB"),
        [
            ("idle worker (median of all, as docker stats counts)", idle),
            (f"proxy with {_MANY} workers, resident", proxy),
            ("image without its base", ours - base),
        ],
    )


def _percentiles(times: list[float]) -> tuple[float, float, float]:
    ordered = sorted(times)
    return percentile(ordered, 0.5), percentile(ordered, 0.95), ordered[-1]


@contextmanager
def _deployment(engine: Engine, **environ: str) -> Iterator[Server]:
    with served(
        "workers: {keep_on_exit: false}",
        WORKER_BACKEND="docker",
        DOCKER_HOST=engine.host,
        CONTAINER_CPU_LIMIT="0.5",
        **environ,
    ) as server:
        yield server


def first_statement(server: Server, sub: str) -> float:
    """Seconds that a user's first statement takes, on a connection of its own."""
    client = flight.FlightClient(server.uri)
    headers = [(b"authorization", f"Bearer {server.token(sub)}".encode())]
    options = flight.FlightCallOptions(timeout=_SECONDS, headers=headers)
    began = time.perf_counter()
    info = client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 42"), options)
    table = client.do_get(info.endpoints[0].ticket, options).read_all()
    seconds = time.perf_counter() - began
    assert table.column(0).to_pylist() == [42]
    client.close()
    return seconds


def _cold() -> list[float]:
    with _deployment(Engine.current()) as server:
        return [first_statement(server, f"user{n}") for n in range(_NEW_USERS)]


def _warm() -> list[float]:
    with _deployment(Engine.current(), WORKER_WARM=str(_WARM)) as server:
        times = []
        for number in range(_NEW_USERS):
            _wait(lambda: ready_spares(server) == _WARM)
            times.append(first_statement(server, f"user{number}"))
        return times


def ready_spares(server: Server) -> int:
    """How many warm workers there are that nobody has claimed."""
    return sum(w["state"] == "ready" and not w["key"] for w in _admin(server).workers())


def _many(engine: Engine) -> tuple[list[float], float, float]:
    with _deployment(engine, CONTAINER_MAX_PER_HOST=str(_MANY)) as server:
        with ThreadPoolExecutor(_AT_ONCE) as executor:
            at_once = list(
                executor.map(lambda n: first_statement(server, f"user{n}"), range(_AT_ONCE))
            )
        for number in range(_AT_ONCE, _MANY):
            first_statement(server, f"user{number}")
        assert len(_admin(server).workers()) == _MANY
        stats = engine.docker("stats", "--no-stream", "--format", "{{json .MemUsage}}")
        used = sorted(_megabytes(json.loads(line)) for line in stats.splitlines())
        return at_once, percentile(used, 0.5), server.resident()


def _megabytes(text: str) -> float:
    """Return ``36.1MiB / 512MiB`` in MB."""
    number = text.split("/", maxsplit=1)[0].strip()
    for unit, factor in (("KiB", 1 / 1024), ("MiB", 1.0), ("GiB", 1024.0)):
        if number.endswith(unit):
            return float(number.removesuffix(unit)) * factor
    return 0.0


def _admin(server: Server) -> AdminClient:
    assert server.tokens is not None
    token = server.tokens.mint("bench", timedelta(minutes=5), admin=True)
    return AdminClient(server.uri, lambda _: token)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
