"""Readers that stop, and users who call too much: what they may hold is bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pyarrow import flight

from pondflight.proxy.in_flight import CallLimits
from tests.proxy.conftest import Deployment, MakeDeployment
from tests.waiting import wait_until

LONG = "SELECT * FROM range(1000000000)"


def test_a_reader_that_has_stopped_for_good_keeps_nothing_of_its_worker(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment(call_limits=CallLimits(idle=1.0))
    client = deployment.client(user)
    reader = client.reader(LONG)
    reader.read_chunk()
    ((_, worker),) = deployment.pool.connections()
    assert worker.status().running == 1
    wait_until(lambda: worker.status().running == 0, 10)
    wait_until(lambda: deployment.pool.counts()["states"]["busy"] == 0)
    assert deployment.proxy.unfinished == 0  # a shutdown does not wait for it
    with pytest.raises(flight.FlightCancelledError, match="has not read on for 1 s"):
        while True:
            reader.read_chunk()
    assert client.rows("SELECT 1") == [(1,)]


@pytest.mark.parametrize("pause", [0.2, 3.0])
def test_a_slow_or_stalled_reader_holds_little_in_the_proxy_and_in_the_worker(
    shared: Deployment, user: str, pause: float
) -> None:
    """Of a result of 6 GB, whose rows are 200 bytes of text."""
    client = shared.client(user)
    client.rows("SELECT 1")
    (worker,) = (worker for view, worker in shared.pool.connections() if view.user == user)
    reader = client.reader("SELECT repeat('x', 200) || range AS t FROM range(30000000)")
    for _ in range(3):
        reader.read_chunk()
    time.sleep(0.2)
    before = _resident(), worker.status().memory or 0
    highest, end = before, time.monotonic() + 3.0
    while time.monotonic() < end:
        time.sleep(pause)
        now = _resident(), worker.status().memory or 0
        highest = max(highest[0], now[0]), max(highest[1], now[1])
        reader.read_chunk()
    reader.cancel()
    assert max(after - was for was, after in zip(before, highest, strict=True)) < 64 << 20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_slow_reader_is_no_reader_that_has_stopped(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment(call_limits=CallLimits(idle=5.0))
    reader, began = deployment.client(user).reader(LONG), time.monotonic()
    while time.monotonic() - began < 6.0:
        assert reader.read_chunk().data.num_rows
        time.sleep(0.4)
    reader.cancel()


def test_a_user_runs_so_many_calls_at_a_time_and_no_one_else_is_held_up(
    make_deployment: MakeDeployment, user: str
) -> None:
    deployment = make_deployment(call_limits=CallLimits(everyone=3, user=2))
    client, other, third = (deployment.client(f"{user}{n}") for n in range(3))
    readers = [client.reader(LONG) for _ in range(2)]
    with pytest.raises(flight.FlightUnavailableError, match=r"server\.max_calls_per_user"):
        client.info("SELECT 1")
    assert other.rows("SELECT 1") == [(1,)]
    held = other.reader(LONG)
    with pytest.raises(flight.FlightUnavailableError, match=r"server\.max_calls\)"):
        third.info("SELECT 1")
    client.act("CloseSession")  # actions still come through: it is they that cancel
    for reader in [*readers, held]:
        reader.cancel()
    wait_until(lambda: len(deployment.proxy.calls) == 0)
    assert third.rows("SELECT 1") == [(1,)]
