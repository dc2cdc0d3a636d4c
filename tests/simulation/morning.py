"""Nine o'clock: everybody's first statement within some minutes, on a cluster; nothing breaks.

::

    python -m tests.simulation.morning [--users 10000] [--seconds 600] [--proxies 3] [--seed 1]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from pondflight.workers.policy import PoolSettings
from tests.simulation.engine import KUBERNETES, Engine, SimulatedBackend
from tests.simulation.world import Proxy, Size, Visit, World

_FIRST = 10.0
"""Seconds in which proxies start, before the first user comes."""
_AFTER = 120.0
_SETTINGS: dict[str, Any] = {
    "idle_timeout": 3600.0,
    "sweep_interval": 30.0,
    "health_interval": 4.0,
    "start_timeout": 60.0,
    "queue_timeout": 30.0,
    "queue_size": 100,
    "concurrent_starts": 32,
    "max_lifetime": 0.0,
    "warm": 0,
}
"""As ``workers.factory`` has them for the backend kubernetes, with the defaults of settings."""


@dataclass
class Morning:
    """What was seen. ``waits`` are seconds from a first statement to its answer, sorted."""

    outcomes: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    per_second: list[int] = field(default_factory=list)
    """Calls of the API server in each second."""

    def wait(self, share: float) -> float:
        """The time within which that share of those who were answered had their answer."""
        return self.waits[min(len(self.waits) - 1, int(len(self.waits) * share))]


class Cluster(World):
    """``users`` who come once each, at a time of their own within ``seconds``."""

    def __init__(self, seed: int, users: int, seconds: float, proxies: int) -> None:
        size = Size(users=users, seconds=seconds, max_workers=users, statement=0.05)
        super().__init__(seed, size)
        self.engine = Engine(self.scheduler, self.faults, KUBERNETES)
        self.proxies = [Proxy(self, number) for number in range(proxies)]
        self.morning = Morning()

    def pool_settings(self, backend: SimulatedBackend) -> PoolSettings:
        """Return those of a deployment."""
        return replace(super().pool_settings(backend), **_SETTINGS)

    def dawn(self) -> Morning:
        """Let it be nine o'clock."""
        for proxy in self.proxies:
            proxy.begin()
        self._run(_FIRST)
        self._spawn(self._count)
        times = sorted(self.random.uniform(0, self.size.seconds) for _ in range(self.size.users))
        for number, when in enumerate(times):
            self.engine.later(when, lambda number=number: self._come(number))  # type: ignore[misc]
        self._run(_FIRST + self.size.seconds + _AFTER)
        self.morning.waits.sort()
        self.morning.calls = self.engine.calls
        return self.morning

    def _come(self, number: int) -> None:
        proxy = self.random.choice(self.proxies)
        assert proxy.pool is not None
        assert proxy.backend is not None
        visit = Visit(self, proxy.pool, proxy.backend, f"user{number}")

        def come() -> None:
            began = self.scheduler.now
            outcome = visit._run()
            self.morning.outcomes[outcome] += 1
            if outcome == "answered":
                self.morning.waits.append(self.scheduler.now - began)

        visit.task = self.scheduler.spawn(come, proxy.group)

    def _count(self) -> None:
        before = self.engine.calls.total()
        while True:
            self.scheduler.sleep(1.0)
            now = self.engine.calls.total()
            self.morning.per_second.append(now - before)
            before = now


def main() -> None:
    """Print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.morning")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--proxies", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began = time.process_time()
    seen = Cluster(given.seed, given.users, given.seconds, given.proxies).dawn()
    rush = seen.per_second[: int(given.seconds)]
    sys.stdout.write(
        f"{given.users} users in {given.seconds:g} s, {given.proxies} proxies: "
        f"{dict(seen.outcomes)}\n"
        f"first answer: p50 {seen.wait(0.5):.1f} s, p95 {seen.wait(0.95):.1f} s, "
        f"longest {seen.wait(1.0):.1f} s\n"
        f"calls of the API server: {sum(rush) / len(rush):.0f} a second, at most {max(rush)}; "
        f"{dict(seen.calls)}\n"
        f"{time.process_time() - began:.0f} s of processor\n"
    )


if __name__ == "__main__":
    main()
