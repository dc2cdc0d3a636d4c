"""What the proxy process counts, for Prometheus.

It has the truth about workers and statements; the HTTP process asks for it (``control.METRICS``)
and adds its own. No label has a user's name or anything that a user can invent: what a label can
be is listed here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pondflight import __version__

REGISTRY: Final = CollectorRegistry()

_QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_START: Final = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30)

BUILD: Final = Info("pondflight_build", "Versions of what runs.", registry=REGISTRY)
BUILD.info({"version": __version__, "python": platform.python_version()})

WORKER_STARTS: Final = Counter(
    "pondflight_worker_starts",
    "Starts of workers, by outcome (started, claimed, adopted, warmed, failed) and, of those that "
    "failed, reason.",
    ("outcome", "reason"),
    registry=REGISTRY,
)
WORKER_START_SECONDS: Final = Histogram(
    "pondflight_worker_start_seconds",
    "Time to get a ready worker, or until its start failed.",
    ("outcome",),
    buckets=_START,
    registry=REGISTRY,
)
WORKER_STOPS: Final = Counter(
    "pondflight_worker_stops", "Ends of workers, by reason.", ("reason",), registry=REGISTRY
)
STATEMENTS: Final = Counter(
    "pondflight_statements",
    "Statements, by kind (query, update, ingest, catalog) and outcome (ok, error, cancelled).",
    ("kind", "outcome"),
    registry=REGISTRY,
)
STATEMENT_SECONDS: Final = Histogram(
    "pondflight_statement_seconds",
    "Duration of the call that ended a statement, until its last row was sent.",
    ("kind",),
    buckets=_QUICK,
    registry=REGISTRY,
)
RELAY_SECONDS: Final = Histogram(
    "pondflight_relay_seconds",
    "Time from the start of a call until the worker's first answer to it, by RPC.",
    ("rpc",),
    buckets=_QUICK,
    registry=REGISTRY,
)
RESULT_ROWS: Final = Counter("pondflight_result_rows", "Rows sent to clients.", registry=REGISTRY)
RESULT_BYTES: Final = Counter(
    "pondflight_result_bytes", "Bytes of Arrow data sent to clients.", registry=REGISTRY
)
INGEST_ROWS: Final = Counter(
    "pondflight_ingest_rows", "Rows received from clients.", registry=REGISTRY
)
INGEST_BYTES: Final = Counter(
    "pondflight_ingest_bytes", "Bytes of Arrow data received from clients.", registry=REGISTRY
)
RATE_LIMITED: Final = Counter(
    "pondflight_rate_limited",
    "Calls refused because their user had sent too many, by kind (statement, catalog).",
    ("kind",),
    registry=REGISTRY,
)
AUTH_FAILURES: Final = Counter(
    "pondflight_auth_failures", "Flight calls without a valid token.", registry=REGISTRY
)
ProcessCollector(namespace="pondflight_proxy", registry=REGISTRY)

for _outcome in ("ok", "error", "cancelled"):
    for _kind in ("query", "update", "ingest", "catalog"):
        STATEMENTS.labels(_kind, _outcome)
for _kind in ("statement", "catalog"):
    RATE_LIMITED.labels(_kind)


def worker_start(outcome: str, seconds: float, reason: str = "") -> None:
    """Count an attempt to get a worker and observe its duration in seconds."""
    WORKER_STARTS.labels(outcome, reason).inc()
    WORKER_START_SECONDS.labels(outcome).observe(seconds)


class Gauges(Collector):
    """Values that are looked up when they are asked for: workers by state, calls by RPC.

    ``workers`` is ``Pool.counts``.
    """

    def __init__(
        self, workers: Callable[[], Mapping[str, Any]], calls: Callable[[], Mapping[str, int]]
    ) -> None:
        self._workers = workers
        self._calls = calls

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the current gauges. Prometheus's client calls this for each scrape."""
        workers = GaugeMetricFamily("pondflight_workers", "Workers, by state.", labels=["state"])
        counts = self._workers()
        for state, number in counts["states"].items():
            workers.add_metric([state], number)
        yield workers
        yield GaugeMetricFamily(
            "pondflight_workers_warm", "Warm workers that nobody has claimed.", counts["warm"]
        )
        yield GaugeMetricFamily("pondflight_queue", "Users waiting for a worker.", counts["queued"])
        calls = GaugeMetricFamily("pondflight_calls", "Running Flight calls.", labels=["rpc"])
        for rpc, number in self._calls().items():
            calls.add_metric([rpc], number)
        yield calls


def expose(gauges: Gauges) -> bytes:
    """Return all metrics in Prometheus's text format."""
    live = CollectorRegistry()
    live.register(gauges)
    return generate_latest(REGISTRY) + generate_latest(live)
