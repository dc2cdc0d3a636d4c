"""The cost of TLS by Caddy, by nginx and by pondflight; and of Caddy without pondflight."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adbc_driver_flightsql import DatabaseOptions, dbapi

from benchmarks.bench import latencies, percentile, show, worker
from integration.bundle.front import Caddy, Front, Nginx
from integration.deployment import Deployment
from tests.certificates import Authority

_RUNS = 400
_ROUNDS = 5
_ROWS = 8_000_000
_TABLE = (
    "CREATE TABLE numbers AS SELECT range::DOUBLE AS a, random() AS b, random() AS c, "
    f"random() AS d FROM range({_ROWS})"
)
_CONFIG = {
    "containers": {"memory_limit": "4g", "cpu_limit": 1},
    "security": {"rate_limit": {"requests_per_minute": 1000000, "burst_size": 1000000}},
}


@dataclass(frozen=True)
class Way:
    """A way to a server."""

    name: str
    uri: str
    credential: str
    ca: str = ""

    def connect(self) -> dbapi.Connection:
        """Return an ADBC connection."""
        options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {self.credential}"}
        if self.ca:
            options[DatabaseOptions.TLS_ROOT_CERTS.value] = self.ca
        return dbapi.connect(self.uri, db_kwargs=options, autocommit=True)


def main() -> None:
    """Latency and rate of each path, in turns, in one run."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plain = stack.enter_context(_deployed(folder / "plain"))
        authority = Authority(folder)
        pair = authority.issue("localhost")
        ours = stack.enter_context(
            _deployed(folder / "tls", TLS_CERT=str(pair.cert), TLS_KEY=str(pair.key))
        )
        alone = stack.enter_context(worker())
        token = plain.token("bench")
        ways = [
            Way("plain port", plain.flight_uri, token),
            Way(
                "our own TLS port",
                f"grpc+tls://localhost:{ours.flight_port}",
                ours.token("bench"),
                authority.cert.read_text(),
            ),
        ]
        # A worker alone is a Flight server without pondflight's proxy.
        bare = Deployment(folder / "bare")
        bare.flight_port = int(alone.uri.rpartition(":")[2])
        kinds: list[tuple[str, type[Front]]] = [("Caddy", Caddy)]
        if shutil.which("nginx") or Path("/usr/sbin/nginx").exists():
            kinds.append(("nginx", Nginx))
        for name, kind in kinds:
            for what, deployment, credential in (
                ("pondflight", plain, token),
                ("a worker alone", bare, alone.credential),
            ):
                front = stack.enter_context(
                    _started(kind(deployment, folder / f"{name}{len(ways)}"))
                )
                ways.append(Way(f"{name}, {what} behind it", front.uri, credential, front.ca))
        connections = [stack.enter_context(way.connect()) for way in ways]
        for connection in (connections[0], connections[1], connections[3]):
            with connection.cursor() as cursor:
                cursor.execute(_TABLE)
        times = latencies(_RUNS, *(_select(connection) for connection in connections))
        rates = [[_rate(connection) for connection in connections] for _ in range(_ROUNDS)]
        best = [max(column) for column in zip(*rates, strict=True)]
        base, caddy_alone = percentile(times[0], 0.5), best[3]
        show(
            f"TLS: `SELECT 42` by ADBC (execute and fetchall), ms; {_ROWS:,} rows of 4 doubles, "
            f"best of {_ROUNDS}, GB/s",
            ("path", "p50", "p99", "more than plain", "GB/s", "of Caddy alone"),
            [
                (
                    way.name,
                    percentile(found, 0.5),
                    percentile(found, 0.99),
                    percentile(found, 0.5) - base,
                    rate,
                    rate / caddy_alone,
                )
                for way, found, rate in zip(ways, times, best, strict=True)
            ],
        )


@contextmanager
def _deployed(folder: Path, **environ: str) -> Iterator[Deployment]:
    deployment = Deployment(folder, _CONFIG, environ)
    deployment.start()
    try:
        yield deployment
    finally:
        deployment.stop()


@contextmanager
def _started(front: Front) -> Iterator[Front]:
    front.start()
    try:
        yield front
    finally:
        front.stop()


def _select(connection: dbapi.Connection) -> Callable[[], None]:
    def run() -> None:
        with connection.cursor() as cursor:  # a new one, or ADBC prepares only once
            cursor.execute("SELECT 42")
            assert cursor.fetchall() == [(42,)]

    return run


def _rate(connection: dbapi.Connection) -> float:
    start = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM numbers")
        size = sum(batch.nbytes for batch in cursor.fetch_record_batch())
    assert size >= _ROWS * 32
    return float(size / (time.perf_counter() - start) / 1e9)
