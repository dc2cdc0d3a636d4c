"""A deployment behind Caddy, its users, and what breaks: for so long, in two halves.

After each half nobody calls, and what the deployment holds is measured: what it held after the
first is what it may hold after the second.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adbc_driver_flightsql import DatabaseOptions, dbapi
from adbc_driver_manager import OperationalError

from integration.bundle.clients import connect as connect_to_front
from integration.bundle.front import Caddy
from integration.clients.checks import HERE
from integration.deployment import Deployment
from integration.soak.users import Tally, live
from integration.tools import require, run
from tests.faults.cutter import Cutter, Kind
from tests.waiting import wait_until

IDLE = 5.0
_FAULT_SECONDS = 4.0
_SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class Held:
    """What the server's processes hold while nobody calls; memory in bytes."""

    workers: int
    descriptors: int
    threads: int
    memory: int

    def __str__(self) -> str:
        return (
            f"{self.workers} workers, {self.descriptors} descriptors, {self.threads} threads, "
            f"{self.memory >> 20} MiB"
        )


class Soak:
    """``users`` of whom a third come by JDBC; the rest by ADBC, past Caddy or past a cutter."""

    def __init__(self, folder: Path, users: int) -> None:
        names = [f"soak{number}" for number in range(users)]
        self.by_jdbc, self.by_adbc = names[: users // 3], names[users // 3 :]
        self.tally = Tally()
        self.faults = 0
        limits = {"requests_per_minute": 1_000_000, "burst_size": 1_000_000}
        self.deployment = Deployment(
            folder / "deployment",
            {
                "security": {"rate_limit": limits},
                "containers": {"idle_timeout": f"{IDLE:g}s", "max_per_host": users},
                "sessions": {"idle_timeout": "1m"},
                "server": {"stream_idle_timeout": "20s"},
            },
        )
        self._jdbc = _compiled()
        self._random = random.Random(users)
        self._folder = folder

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; end it."""
        self.deployment.start()
        self._front = Caddy(self.deployment, self._folder / "front")
        self._front.start()
        self._cutter = Cutter(self.deployment.flight_port)
        try:
            yield
        finally:
            self._cutter.close()
            self._front.stop()
            self.deployment.stop()

    def half(self, seconds: float) -> Held:
        """Let users live and things break; then what is held when everybody has gone."""
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=live, args=(user, self._way(number), until, self.tally))
            for number, user in enumerate(self.by_adbc)
        ]
        threads.append(threading.Thread(target=self._live_by_jdbc, args=(seconds,)))
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            time.sleep(self._random.expovariate(1 / _FAULT_SECONDS))
            self._random.choice([self._kill, self._kill, self._front.reload, self._cut])()
            self.faults += 1
        self._cutter.disarm()
        for thread in threads:
            thread.join()
        wait_until(lambda: not self.deployment.workers(), IDLE + _SETTLE_SECONDS)
        return self._held()

    def check_all_are_served(self) -> None:
        """When nothing breaks any more, everybody is served, once told of the last fault."""
        for number, user in enumerate(self.by_jdbc + self.by_adbc):
            with self._way(number)(user) as connection, connection.cursor() as cursor:
                with contextlib.suppress(OperationalError):
                    cursor.execute("SELECT 1")
                cursor.execute(f"SELECT '{user}'")
                assert cursor.fetchall() == [(user,)]

    # -- users --------------------------------------------------------------------------------

    def _way(self, number: int) -> Callable[[str], dbapi.Connection]:
        if number % 2:
            return lambda user: connect_to_front(self._front, user, autocommit=True)
        return self._past_the_cutter

    def _past_the_cutter(self, user: str) -> dbapi.Connection:
        header = DatabaseOptions.AUTHORIZATION_HEADER.value
        return dbapi.connect(
            f"grpc://127.0.0.1:{self._cutter.port}",
            db_kwargs={
                header: f"Bearer {self.deployment.token(user)}",
                # A connection that has gone silent is given up.
                DatabaseOptions.TIMEOUT_FETCH.value: "30",
                DatabaseOptions.TIMEOUT_QUERY.value: "30",
                DatabaseOptions.TIMEOUT_UPDATE.value: "30",
            },
            autocommit=True,
        )

    def _live_by_jdbc(self, seconds: float) -> None:
        pairs = [text for user in self.by_jdbc for text in (user, self.deployment.token(user))]
        address = (
            f"localhost:{self._front.port}?useEncryption=true&disableCertificateVerification=true"
        )
        done = subprocess.run(
            [*self._jdbc, "pondflight.Soak", address, f"{seconds:g}", *pairs],
            cwd=HERE / "jdbc",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + 300,
            check=False,
        )
        if done.returncode:
            self.tally.add("jdbc", "WRONG", done.stderr[-2000:])
        for line in done.stdout.splitlines():
            user, outcome, *words = line.split(" ", 2)
            if user in self.by_jdbc:
                self.tally.add(user, outcome, " ".join(words))

    # -- faults -------------------------------------------------------------------------------

    def _kill(self) -> None:
        if workers := self.deployment.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(workers), signal.SIGKILL)

    def _cut(self) -> None:
        kinds: list[Kind] = ["close", "reset", "stall"]
        self._cutter.disarm()
        self._cutter.arm(self._random.randrange(5_000_000), self._random.choice(kinds))

    # -- looking ------------------------------------------------------------------------------

    def _held(self) -> Held:
        workers = self.deployment.workers()
        counts: list[tuple[int, int, int]] = []
        for pid in self.deployment.family():
            path = Path(f"/proc/{pid}")
            with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                counts.append(
                    (
                        len(list((path / "fd").iterdir())),
                        len(list((path / "task").iterdir())),
                        int((path / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
                    )
                )
        descriptors, threads, memory = map(sum, zip(*counts, strict=True))
        return Held(len(workers), descriptors, threads, memory)


def _compiled() -> list[str]:
    """The command of a Java program of integration/jdbc, but for its class and arguments."""
    maven = require("mvn", "apt-get install maven default-jdk-headless")
    java = require("java", "apt-get install default-jdk-headless")
    run(maven, "--batch-mode", "--quiet", "process-classes", cwd=HERE / "jdbc")
    return [
        java,
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "-cp",
        "target/classes:target/lib/*",
    ]
