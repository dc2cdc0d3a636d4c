"""What the proxy costs: the same client through it, and directly at a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from adbc_driver_flightsql import dbapi

from benchmarks.bench import latencies, percentile, served, show, worker

_RUNS = 500
_NEW_USERS = 10
_ROWS = 10_000_000
_STREAM = f"SELECT range AS a, range + 1 AS b, range * 2 AS c, range AS d FROM range({_ROWS})"


def main() -> None:
    """Measure latency, time to a new user's first row, stream rate, and memory."""
    with served() as proxy, worker() as direct:
        at_rest = proxy.resident()
        with (
            proxy.connect(autocommit=True) as through,
            direct.connect(autocommit=True) as straight,
        ):
            straight_ms, through_ms = latencies(_RUNS, _select(straight), _select(through))
            rows = [
                (name, percentile(times, 0.5), percentile(times, 0.99))
                for name, times in (("direct", straight_ms), ("through the proxy", through_ms))
            ]
            show("`SELECT 42`, ADBC execute and fetchall, ms", ("path", "p50", "p99"), rows)
            rates = [(_rate(straight), _rate(through)) for _ in range(5)]
            best = [max(column) for column in zip(*rates, strict=True)]
            show(
                f"{_ROWS:,} rows of 4 int64, best of 5, GB/s",
                ("direct", "through the proxy", "share"),
                [(*best, best[1] / best[0])],
            )
        firsts = sorted(_first(partial(proxy.connect, f"new-{n}")) for n in range(_NEW_USERS))
        show(
            "New user: connect, start of the worker, first row, s",
            ("median", "slowest"),
            [(percentile(firsts, 0.5), firsts[-1])],
        )
        show(
            "Resident memory of the proxy, MB",
            ("at rest", f"after {5 * _ROWS * 32 / 1e9:.1f} GB and {_NEW_USERS + 1} workers"),
            [(at_rest, proxy.resident())],
        )


def _select(connection: dbapi.Connection) -> Callable[[], None]:
    def run() -> None:
        with connection.cursor() as cursor:  # a new one, or ADBC prepares only once
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]

    return run


def _rate(connection: dbapi.Connection) -> float:
    start = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(_STREAM)
        size = sum(batch.nbytes for batch in cursor.fetch_record_batch())
    return float(size / (time.perf_counter() - start) / 1e9)


def _first(connect: Callable[[], dbapi.Connection]) -> float:
    start = time.perf_counter()
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        assert cursor.fetchall() == [(42,)]
    return time.perf_counter() - start
