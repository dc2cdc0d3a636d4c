"""Real load: many connections of many users, from separate client processes, for a while.

It also compares the processor time of the busiest proxy process: four processes against one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import chart
from benchmarks.bench import Server, percentile, served, show
from benchmarks.processes import Cost, proxies, workers

_SECONDS = 4.0
_CLIENTS = 4
"""Client processes: fewer would be what is measured."""
_LOADS = ((1, 1), (8, 1), (32, 1), (8, 8), (32, 10), (128, 10), (128, 100))
_CONFIG = "containers: {memory_limit: 256m, max_per_host: 200}"
_PROCESSES = 4
_CONNECTIONS, _USERS, _ROUNDS = 128, 8, 4


def main() -> None:
    """Measure statements a second by connections and users, then by processes; draw both."""
    with served(_CONFIG) as server:
        rows = [_row(server, connections, users) for connections, users in _LOADS]
    show(
        f"`SELECT 42` by ADBC from {_CLIENTS} client processes, {_SECONDS:.0f} s each",
        ("connections", "users", "statements a second", "p50 ms", "p99 ms", *_COSTS),
        rows,
    )
    busiest = _processes()
    _chart(rows, busiest)


_COSTS = ("proxy, ms a statement", "workers, ms a statement")


@dataclass(frozen=True)
class Load:
    """What clients measured, and the seconds that processes spent on it."""

    latencies: list[float]
    proxies: list[float]
    workers: float

    def each(self, seconds: float) -> float:
        """Return the milliseconds for each statement."""
        return seconds * 1e3 / len(self.latencies)


def _row(server: Server, connections: int, users: int) -> tuple[object, ...]:
    load = _run(server, connections, users)
    return (
        connections,
        users,
        round(len(load.latencies) / _SECONDS),
        percentile(load.latencies, 0.5),
        percentile(load.latencies, 0.99),
        load.each(max(load.proxies)),
        load.each(load.workers),
    )


def _run(server: Server, connections: int, users: int) -> Load:
    """Run clients for ``_SECONDS``, once all are connected and have their workers."""
    with ExitStack() as stack:
        clients = []
        for client in range(min(_CLIENTS, connections)):
            numbers = range(client, connections, _CLIENTS)
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load_client"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            clients.append(process)
            tokens = [server.token(f"load-{number % users}") for number in numbers]
            _tell(process, json.dumps([server.uri, tokens, _SECONDS]))
        for process in clients:
            _hear(process)
        relays = proxies(server.pid)
        behind = workers(server.pid)
        before = {pid: Cost.of(pid).seconds for pid in (*relays, *behind)}
        for process in clients:
            _tell(process, "go")
        found = [json.loads(_hear(process)) for process in clients]
        spent = {pid: Cost.of(pid).seconds - began for pid, began in before.items()}
    return Load(
        sorted(ms for latencies in found for ms in latencies),
        [spent[pid] for pid in relays],
        sum(spent[pid] for pid in behind),
    )


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "a client has failed"
    return line


def _processes() -> dict[int, float]:
    """Return the busiest proxy process's time for a statement, by number of processes."""
    numbers = (1, _PROCESSES)
    busiest: dict[int, list[float]] = {number: [] for number in numbers}
    rows: list[tuple[object, ...]] = []
    with ExitStack() as stack:
        servers = {
            number: stack.enter_context(served(_CONFIG, SERVER_PROCESSES=str(number)))
            for number in numbers
        }
        parents: dict[int, float] = dict.fromkeys(numbers, 0.0)
        for _ in range(_ROUNDS):
            for number, server in servers.items():
                before = Cost.of(server.pid).seconds
                load = _run(server, _CONNECTIONS, _USERS)
                parents[number] += load.each(Cost.of(server.pid).seconds - before) / _ROUNDS
                busiest[number].append(load.each(max(load.proxies)))
        mean = {number: sum(found) / _ROUNDS for number, found in busiest.items()}
        for number in numbers:
            least, most = min(busiest[number]), max(busiest[number])
            spread = f"{least:.2f} to {most:.2f}"
            relayed = number == 1
            parent = "" if relayed else parents[number]
            rows.append((number, mean[number], spread, parent, mean[1] / mean[number]))
    show(
        f"{_CONNECTIONS} connections of {_USERS} users, {_ROUNDS} times {_SECONDS:.0f} s each, in "
        "turns: processor time of the busiest proxy process, ms a statement of all",
        ("processes", "busiest", "least to most", "the parent", "times less than one"),
        rows,
    )
    return mean


def _chart(rows: Sequence[tuple[object, ...]], busiest: dict[int, float]) -> None:
    def panel(**columns: int) -> chart.Panel:
        return {
            f"{row[0]} of {row[1]} user{'s' * (row[1] != 1)}": {
                name.replace("_", " "): float(str(row[column])) for name, column in columns.items()
            }
            for row in rows
        }

    path = chart.write(
        "load",
        {
            "Statements a second, by connections": panel(all=2),
            "Latency, ms": panel(p50=3, p99=4),
            "Processor time of a statement, ms": panel(the_proxy=5, workers=6),
            "Processor time of the busiest proxy process, ms a statement": {
                f"{number} process{'es' * (number != 1)}": {"busiest": ms}
                for number, ms in busiest.items()
            },
        },
    )
    print(f"\n{path}")
