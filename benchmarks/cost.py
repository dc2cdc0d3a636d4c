"""The processor time of a statement, beside simpler servers; the cost of idle workers.

Elapsed time depends on what else the machine does; processor time hardly does. All servers take
turns in one run, so the ratios hold even on a busy machine. ROAPI, a server written in Rust, is
included if it is installed (``pip install roapi``, or its path in ``ROAPI``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from adbc_driver_flightsql import dbapi

from benchmarks.bench import Server, percentile, served, show, worker
from benchmarks.processes import Cost, workers

_ROUNDS = 20
_TURN = 50
_WARM_UP = 100
_IDLE_SECONDS = 20.0
_SETTLE_SECONDS = 6.0
_FEW, _MANY = 1, 25


def main() -> None:
    """Measure processor time and latency of a statement, then idle workers."""
    _statements()
    _idle()


def _statements() -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(served())
        servers: dict[str, Server] = {}

        def add(name: str, server: Server) -> None:
            servers[name] = server

        add("constants, on pyarrow's server", stack.enter_context(_constant()))
        roapi = os.environ.get("ROAPI") or shutil.which("roapi")
        if roapi:
            add("ROAPI", stack.enter_context(_roapi(roapi)))
        add("a worker, straight", stack.enter_context(worker()))
        add("through the proxy: the proxy", proxy)
        actions = {
            name: _select(stack.enter_context(server.connect(autocommit=True)))
            for name, server in servers.items()
        }
        for action in actions.values():
            for _ in range(_WARM_UP):
                action()
        (behind,) = workers(proxy.pid)
        seconds = dict.fromkeys(actions, 0.0)
        worker_seconds = 0.0
        times: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(_ROUNDS):
            for name, action in actions.items():
                pid = servers[name].pid
                before, worker_before = Cost.of(pid), Cost.of(behind)
                for _ in range(_TURN):
                    start = time.perf_counter()
                    action()
                    times[name].append((time.perf_counter() - start) * 1e3)
                seconds[name] += Cost.of(pid).seconds - before.seconds
                if servers[name] is proxy:
                    worker_seconds += Cost.of(behind).seconds - worker_before.seconds
        least = next(iter(seconds.values()))
        rows: list[tuple[object, ...]] = []
        for name, ordered in ((name, sorted(found)) for name, found in times.items()):
            ms = seconds[name] * 1e3 / len(ordered)
            relative = seconds[name] / least
            rows.append((name, ms, relative, percentile(ordered, 0.5), percentile(ordered, 0.99)))
        ms = worker_seconds * 1e3 / (_ROUNDS * _TURN)
        rows.append(("through the proxy: the worker", ms, worker_seconds / least, "", ""))
        show(
            "`SELECT 42` by ADBC, execute and fetchall (four RPCs): processor time of the server",
            ("server", "ms a statement", "relative", "p50 ms", "p99 ms"),
            rows,
        )


def _idle() -> None:
    rows: list[tuple[object, ...]] = []
    costs: list[tuple[object, ...]] = []
    config = "containers: {memory_limit: 256m, max_per_host: 200}"
    with served(config) as few, served(config) as many:
        for server, number in ((few, _FEW), (many, _MANY)):
            for n in range(number):
                with server.connect(f"idle-{n}", autocommit=True) as connection:
                    _select(connection)()
        time.sleep(_SETTLE_SECONDS)
        for server, number in ((few, _FEW), (many, _MANY)):
            idle = workers(server.pid)
            assert len(idle) == number
            before = [Cost.of(pid) for pid in (server.pid, *idle)]
            time.sleep(_IDLE_SECONDS)
            after = [Cost.of(pid) for pid in (server.pid, *idle)]
            cores = [
                (b.seconds - a.seconds) / _IDLE_SECONDS for a, b in zip(before, after, strict=True)
            ]
            switches = [
                (b.switches - a.switches) / _IDLE_SECONDS
                for a, b in zip(before, after, strict=True)
            ]
            rows.append(
                (
                    number,
                    f"{sum(cores[1:]) / number:.5f}",
                    sum(switches[1:]) / number,
                    f"{cores[0]:.5f}",
                    switches[0],
                    after[0].threads,
                )
            )
        with (
            few.connect("idle-0", autocommit=True) as one,
            many.connect("idle-0", autocommit=True) as other,
        ):
            seconds = _in_turns((few, _select(one)), (many, _select(other)))
        costs = [
            (number, spent * 1e3 / (_ROUNDS * _TURN), spent / seconds[0])
            for number, spent in zip((_FEW, _MANY), seconds, strict=True)
        ]
    show(
        "Idle",
        (
            "workers",
            "cores a worker",
            "switches a second, a worker",
            "cores, the proxy",
            "switches a second, the proxy",
            "threads, the proxy",
        ),
        rows,
    )
    show(
        "Processor time of the proxy for `SELECT 42` by ADBC, with idle workers beside the one",
        ("workers", "ms a statement", "relative"),
        costs,
    )


def _in_turns(*servers: tuple[Server, Callable[[], None]]) -> list[float]:
    """Return the processor seconds of each server for the same number of statements."""
    spent = [0.0] * len(servers)
    for _ in range(_ROUNDS):
        for index, (server, action) in enumerate(servers):
            before = Cost.of(server.pid).seconds
            for _ in range(_TURN):
                action()
            spent[index] += Cost.of(server.pid).seconds - before
    return spent


def _select(connection: dbapi.Connection) -> Callable[[], None]:
    def run() -> None:
        with connection.cursor() as cursor:  # a new one, or ADBC prepares only once
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]

    return run


@contextmanager
def _constant() -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.constant"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        try:
            yield Server(f"grpc://127.0.0.1:{int(process.stdout.readline())}", process.pid)
        finally:
            process.stdin.close()
            process.wait(10)


@contextmanager
def _roapi(program: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "t.csv"
        table.write_text("a\n1\n")
        log = Path(folder) / "log"
        with log.open("w") as file:
            process = subprocess.Popen(  # noqa: S603  what the caller has installed
                [
                    *(program, "--addr-http", "127.0.0.1:0", "--addr-postgres", "127.0.0.1:0"),
                    *("--addr-flight-sql", "127.0.0.1:0", "--table", f"t={table}"),
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"NO_COLOR": "1"},
            )
        try:
            while not (found := _FLIGHT.search(log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield Server(f"grpc://{found[1]}", process.pid)
        finally:
            process.terminate()
            process.wait(10)


_FLIGHT = re.compile(r"(127\.0\.0\.1:\d+) for FlightSQL")
