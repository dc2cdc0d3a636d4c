"""``pondflight serve`` that is asked to end while clients stream: nothing promised is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from pyarrow import flight

from pondflight.auth.tokens import Tokens
from tests.flight import Client
from tests.serve.test_serve import Served
from tests.waiting import wait_until

SECRET = "Vq9x2mKzR7tYp4WnB8cLd3HfJ6gSa5eU"
RUNS = int(os.environ.get("SIGTERMS", "2"))
"""How many there are; 100 for the figure in docs/reliability.md."""
ROWS = 1_000_000
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


def client(served: Served, user: str) -> Client:
    token = Tokens(SECRET).mint(user, timedelta(hours=1))
    return Client(f"grpc://127.0.0.1:{served.ports['GRPC_PORT']}", token)


def serve(folder: Path, **environ: str) -> Served:
    folder.mkdir()
    served = Served(folder, "--no-caddy", JWT_SECRET=SECRET, **environ)
    served.wait_ready()
    return served


class Load:
    """Clients of one server that stream, again and again, until they are refused."""

    def __init__(self, served: Served, clients: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.lost: list[str] = []
        self._threads = [
            threading.Thread(target=self._stream, args=(client(served, f"user{n % 2}"),))
            for n in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _stream(self, each: Client) -> None:
        while True:
            try:
                info = each.info(f"SELECT * FROM range({ROWS})", timeout=60)
            except flight.FlightError:
                self.outcomes["refused"] += 1
                return
            try:
                reader = each.flight.do_get(info.endpoints[0].ticket, each.options())
                rows = sum(chunk.data.num_rows for chunk in reader)
            except Exception as error:
                self.lost.append(f"{type(error).__name__}: {error}")
                return
            if rows != ROWS:
                self.lost.append(f"{rows} of {ROWS} rows, and no error")
            self.outcomes["whole"] += 1

    def is_under_way(self) -> bool:
        return self.outcomes["whole"] > 4

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.mark.timeout(60 * RUNS + 60)
def test_sigterm_under_load_loses_no_stream(tmp_path: Path) -> None:
    for run in range(RUNS):
        served = serve(tmp_path / str(run))
        load = Load(served, 6)
        wait_until(load.is_under_way, 60)
        time.sleep(random.uniform(0, 0.3))
        served.process.send_signal(signal.SIGTERM)
        load.join()
        assert served.process.wait(30) == 0
        assert load.lost == []
        assert load.outcomes["refused"] == 6


def test_a_second_sigterm_waits_for_nothing(tmp_path: Path) -> None:
    served = serve(tmp_path / "0")
    errors: list[Exception] = []

    def run() -> None:
        try:
            client(served, "ann").rows(ENDLESS)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: "Container spawned" in served.log(), 20)
    served.process.send_signal(signal.SIGTERM)
    with pytest.raises(flight.FlightUnavailableError, match="shutting down"):
        while True:
            client(served, "bob").info("SELECT 1")
    assert served.process.poll() is None
    began = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(20) == 0
    assert time.monotonic() - began < 15  # half of the drain timeout, on a busy machine
    thread.join()
    assert isinstance(errors[0], flight.FlightError)


def test_what_runs_longer_than_the_drain_timeout_is_cancelled(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {drain_timeout: 1s}\n")
    served = serve(tmp_path / "0", CONFIG_FILE=str(config))
    each = client(served, "ann")
    reader = each.reader("SELECT * FROM range(100000000000)")
    reader.read_chunk()
    served.process.send_signal(signal.SIGTERM)
    with pytest.raises(flight.FlightCancelledError, match="shutting down"):
        while True:
            reader.read_chunk()
    assert served.process.wait(20) == 0
