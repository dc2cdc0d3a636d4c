"""Readers that stop, and users who call too much: what they may hold is bounded."""

from __future__ import annotations

import time

import pytest
from pyarrow import flight

from pondflight.proxy.in_flight import CallLimits
from tests.proxy.conftest import MakeDeployment
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
