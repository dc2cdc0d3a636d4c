"""Shared by the benchmarks: a server to measure, figures, and a table to print them in."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from adbc_driver_flightsql import DatabaseOptions, dbapi

from pondflight.auth.tokens import Tokens
from pondflight.control import NO_WALLS, Walls

MB = 1 << 20
_MICRO_BATCH = 50

# A benchmark is a user who runs too much.
_NO_LIMITS = {"requests_per_minute": 1_000_000, "burst_size": 1_000_000}
_READY = re.compile(r'msg="?Ready"? grpc=(?P<flight>\d+) http=(?P<http>\d+)')


@dataclass(frozen=True)
class Server:
    """A Flight SQL server, and its process."""

    uri: str
    pid: int
    tokens: Tokens | None = None
    credential: str = ""
    http_port: int = 0

    def token(self, sub: str = "bench") -> str:
        """Return a token that the server accepts."""
        return self.tokens.mint(sub, timedelta(hours=1)) if self.tokens else self.credential

    def connect(self, sub: str = "bench", **options: Any) -> dbapi.Connection:
        """Return an ADBC connection."""
        header = DatabaseOptions.AUTHORIZATION_HEADER.value
        keywords = {header: f"Bearer {self.token(sub)}"}
        return dbapi.connect(self.uri, db_kwargs=keywords, **options)

    def resident(self) -> float:
        """Return the resident memory of the process, in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096 / MB


@contextmanager
def served(config: str = "", **environ: str) -> Iterator[Server]:
    """Run ``pondflight serve`` with a configuration (YAML)."""
    secret = secrets.token_urlsafe(32)
    variables = dict.fromkeys(("PORT", "GRPC_PORT", "HEALTH_PORT"), "0")
    settings = {"security": {"rate_limit": _NO_LIMITS}} | (yaml.safe_load(config) or {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(settings))
        log = (Path(folder) / "log").open("w+")
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "pondflight", "serve", "--config", str(path)],
            env=os.environ
            | {"HOST": "127.0.0.1", "JWT_SECRET": secret, "WORKER_WARM": "0"}
            | variables
            | environ,
            stderr=log,
        )
        try:
            while not (ready := _READY.search(text := Path(log.name).read_text())):
                assert process.poll() is None, text
                time.sleep(0.05)
            yield Server(
                uri=f"grpc://127.0.0.1:{ready['flight']}",
                pid=process.pid,
                tokens=Tokens(secret),
                http_port=int(ready["http"]),
            )
        finally:
            process.terminate()
            process.wait(30)
            log.close()


@contextmanager
def worker(threads: int = 1, walls: Walls = NO_WALLS) -> Iterator[Server]:
    """Run a worker alone, to be called directly."""
    credential = secrets.token_hex(16)
    digest = hashlib.sha256(credential.encode()).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-m", "pondflight", "worker", "--lifeline"),
                *(f"--credential-sha256={digest}", f"--scratch={folder}", f"--threads={threads}"),
                f"--walls={walls.text()}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            yield Server(f"grpc://127.0.0.1:{port}", process.pid, credential=credential)
        finally:
            process.stdin.close()
            process.wait(10)
            process.stdout.close()


def beside_engine(benchmark: str) -> None:
    """Run a benchmark in a process of its own, beside a Docker engine of its own; needs root."""
    python = [sys.executable, "-m"]
    command = [*python, "integration.docker.engine", "--", *python, "benchmarks", benchmark]
    subprocess.run(command, check=True)  # noqa: S603 - our own program


def latencies(runs: int, *actions: Callable[[], object]) -> list[list[float]]:
    """Return the milliseconds of each run of each action, sorted.

    The actions take turns, a few runs at a time, so that all see the same conditions.
    """
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        for _ in range(_MICRO_BATCH):
            action()
    while len(times[0]) < runs:
        for found, action in zip(times, actions, strict=True):
            for _ in range(_MICRO_BATCH):
                start = time.perf_counter()
                action()
                found.append((time.perf_counter() - start) * 1e3)
    return [sorted(found) for found in times]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown, to be pasted into docs/performance.md."""
    print(f"\n{title}\n")
    for row in (header, ["---"] * len(header), *rows):
        cells = (f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row)
        print("| " + " | ".join(cells) + " |", flush=True)
