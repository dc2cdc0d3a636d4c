"""One user takes all they can get: how long others wait for their statements, before and meanwhile.

In a Docker engine of its own (``python -m integration.docker.engine -- python -m benchmarks
attack``), workers are containers, whose limits hold; elsewhere they are processes without limits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from adbc_driver_manager import Error
from pyarrow import flight

from benchmarks.bench import Server, percentile, served, show
from integration.docker.engine import VARIABLE, Engine

_OTHERS = int(os.environ.get("OTHERS", "20"))
_ROUNDS = 2
_SECONDS = 5.0
_PAUSE = 0.1
_STATEMENT = "SELECT sum(range) FROM range(10000)"

_SQL = {
    "processor": "SELECT sum(a.range * b.range) FROM range(100000) a, range(100000) b",
    "memory": "SELECT len(list(hash(range)::VARCHAR)) FROM range(100000000)",
    "disk": "SELECT * FROM (SELECT hash(range) AS h, repeat('x', 100) FROM range(20000000)) "
    "ORDER BY h LIMIT 1 OFFSET 19999999",
}


def main() -> None:
    environ = {"CONTAINER_CPU_LIMIT": "0.25"}
    if os.environ.get(VARIABLE):
        environ |= {"WORKER_BACKEND": "docker", "DOCKER_HOST": Engine.current().host}
    with served("workers: {keep_on_exit: false}", **environ) as server:
        others = [_Other(server, f"user{number}") for number in range(_OTHERS)]
        rows = [_row(server, kind, others) for kind in _KINDS]
        for other in others:
            other.close()
    show(
        f"A statement of {_OTHERS} others while one user attacks, in ms",
        ("attack", "quiet p50", "p95", "attacked p50", "p95", "p95 ratio"),
        rows,
    )


class _Other:
    """A user with a connection, who runs ten statements a second."""

    def __init__(self, server: Server, sub: str) -> None:
        self._connection = server.connect(sub, autocommit=True)
        self._cursor = self._connection.cursor()
        self._ask()

    def close(self) -> None:
        self._cursor.close()
        self._connection.close()

    def _ask(self) -> None:
        self._cursor.execute(_STATEMENT)
        assert self._cursor.fetchall() == [(49_995_000,)]

    def ask_until(self, end: float, times: list[float]) -> None:
        while time.monotonic() < end:
            began = time.perf_counter()
            self._ask()
            times.append((time.perf_counter() - began) * 1e3)
            time.sleep(_PAUSE)


def _row(server: Server, kind: str, others: list[_Other]) -> tuple[object, ...]:
    quiet: list[float] = []
    attacked: list[float] = []
    for _ in range(_ROUNDS):
        quiet += _measured(others)
        attacker = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "benchmarks.attack", kind, server.uri, server.token("eve")],
            stdout=subprocess.PIPE,
        )
        try:
            assert attacker.stdout is not None
            attacker.stdout.readline()
            time.sleep(_SECONDS / 2)  # until the attacker is at work
            attacked += _measured(others)
        finally:
            attacker.kill()
            attacker.communicate()
        time.sleep(_SECONDS / 2)  # until the attacker's statements are over
    quiet.sort()
    attacked.sort()
    before, after = percentile(quiet, 0.95), percentile(attacked, 0.95)
    return kind, percentile(quiet, 0.5), before, percentile(attacked, 0.5), after, after / before


def _measured(others: list[_Other]) -> list[float]:
    times: list[float] = []
    end = time.monotonic() + _SECONDS
    threads = [threading.Thread(target=other.ask_until, args=(end, times)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


# -- the attacker, a process of its own ------------------------------------------------------------


def attack(kind: str, uri: str, token: str) -> None:
    """Attack until killed."""
    server = Server(uri, 0, credential=token)
    print("begins", flush=True)
    threads = [threading.Thread(target=_KINDS[kind], args=(server,)) for _ in range(16)]
    for thread in threads:
        thread.start()


def _statements(*texts: str) -> Callable[[Server], None]:
    def run(server: Server) -> None:
        for text in cycle(texts):
            with suppress(Error), server.connect(autocommit=True) as connection:
                connection.execute(text).fetchall()

    return run


def _connections(server: Server) -> None:
    """Connect, run a statement, and stay connected."""
    held = []
    while True:
        with suppress(Error):
            connection = server.connect(autocommit=True)
            connection.cursor().execute("CREATE TEMP TABLE t AS SELECT 1")
            held.append(connection)


def _calls(server: Server) -> None:
    """Describe statements, and never wait for the answers."""
    header = (b"authorization", f"Bearer {server.token()}".encode())
    options = flight.FlightCallOptions(headers=[header])
    client = flight.FlightClient(server.uri)
    while True:
        with suppress(flight.FlightError):
            client.get_flight_info(flight.FlightDescriptor.for_command(b"SELECT 1"), options)


_KINDS: dict[str, Callable[[Server], None]] = {
    **{kind: _statements(text) for kind, text in _SQL.items()},
    "connections": _connections,
    "calls": _calls,
    "all": _statements(*_SQL.values()),
}

if __name__ == "__main__":
    attack(*sys.argv[1:])
