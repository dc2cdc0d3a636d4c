"""What the proxy process counts, for Prometheus.

It knows the workers and statements; the HTTP process asks for its figures (``control.METRICS``) and
adds its own. No label contains a user's name, or anything that a user can invent; the possible
values are listed here.

Where several proxy processes serve one port, they count in shared files
(``PROMETHEUS_MULTIPROC_DIR``), so the counts of a crashed one are not lost.
"""

from __future__ import annotations

import operator
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from pondflight import __version__
from pondflight.control import Json

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

for _outcome in ("ok", "error", "cancelled"):
    for _kind in ("query", "update", "ingest", "catalog"):
        STATEMENTS.labels(_kind, _outcome)
for _kind in ("statement", "catalog"):
    RATE_LIMITED.labels(_kind)


def worker_start(outcome: str, seconds: float, reason: str = "") -> None:
    """Count an attempt to get a worker and observe its duration in seconds."""
    WORKER_STARTS.labels(outcome, reason).inc()
    WORKER_START_SECONDS.labels(outcome).observe(seconds)


@dataclass(frozen=True, slots=True)
class Share:
    """What one proxy process can say of itself alone.

    ``queued``   users who wait there for a worker
    ``calls``    running Flight calls by RPC
    ``started``, ``stopped``  workers, since it began
    ``users``    worker's key: ``sub`` of its user, of those who have called there
    ``ready``    whether it can start workers
    ``shared``   whether proxies of other hosts or services use its workers too
    """

    pid: int = field(default_factory=os.getpid)
    queued: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    started: int = 0
    stopped: int = 0
    users: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True
    shared: bool = False


class Gauges(Collector):
    """Values that are read when they are requested: workers by state, calls by RPC.

    ``workers`` is ``Pool.counts``; ``shares`` are those of all proxy processes that listen here.
    """

    def __init__(self, workers: Callable[[], Json], shares: Callable[[], Sequence[Share]]) -> None:
        self._workers = workers
        self._shares = shares

    def collect(self) -> Iterator[Metric]:
        """Yield the current gauges. Prometheus's client calls this for each scrape."""
        shares = self._shares()
        workers = GaugeMetricFamily("pondflight_workers", "Workers, by state.", labels=["state"])
        counts = self._workers()
        for state, number in counts["states"].items():
            workers.add_metric([state], number)
        yield workers
        yield GaugeMetricFamily(
            "pondflight_workers_warm", "Warm workers that nobody has claimed.", counts["warm"]
        )
        queued = sum(share.queued for share in shares)
        yield GaugeMetricFamily("pondflight_queue", "Users waiting for a worker.", queued)
        calls = GaugeMetricFamily("pondflight_calls", "Running Flight calls.", labels=["rpc"])
        for rpc in sorted({rpc for share in shares for rpc in share.calls}):
            calls.add_metric([rpc], sum(share.calls.get(rpc, 0) for share in shares))
        yield calls
        yield from _processes([share.pid for share in shares])


def _processes(pids: Sequence[int]) -> Iterator[Metric]:
    """Yield processor time, memory and descriptors of processes: sums, and the first start."""
    each = [_process(pid) for pid in pids]
    for first, *others in zip(*each, strict=False):  # one that has just ended has no figures
        for other in others:
            first.samples = [
                ours._replace(value=_together(ours.name)(ours.value, its.value))
                for ours, its in zip(first.samples, other.samples, strict=True)
            ]
        yield first


def _process(pid: int) -> Iterable[Metric]:
    return ProcessCollector("pondflight_proxy", pid=lambda: pid, registry=None).collect()


def _together(name: str) -> Callable[[float, float], float]:
    return min if name.endswith("start_time_seconds") else operator.add


def expose(gauges: Gauges) -> bytes:
    """Return all metrics in Prometheus's text format."""
    live = CollectorRegistry()
    live.register(gauges)
    return generate_latest(_Counted() if SHARED in os.environ else REGISTRY) + generate_latest(live)


SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Variable with the folder of the files. Set it before this module is imported."""


class _Counted(CollectorRegistry):
    """``REGISTRY`` with the counts of all processes in place of this one's."""

    def collect(self) -> Iterator[Metric]:
        shared = {m.name: m for m in MultiProcessCollector(None).collect()}  # type: ignore[no-untyped-call]
        for own in REGISTRY.collect():
            found = shared.get(own.name, own)
            found.documentation = own.documentation
            yield found
