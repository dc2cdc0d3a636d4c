"""A part of the seeds, and that a seed is a whole story: the same again, and a fault is found."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from pondflight.workers.roster import Roster
from pondflight.workers.states import Reason
from tests.simulation.world import Size, Violation, World, run

SEEDS, BLOCK = 100, 10


@pytest.fixture(autouse=True)
def fixture_quiet() -> Iterator[None]:
    """Nobody reads what the pool logs of thousands of made-up faults."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_whatever_breaks_what_must_hold_does(first: int) -> None:
    for seed in range(first, first + BLOCK):
        try:
            report = run(seed)
        except Exception as error:
            again = f"python -m tests.simulation --first {seed} --seeds 1"
            raise AssertionError(f"seed {seed}: {error}; again: {again}") from error
        assert report.outcomes.total() > 40


def test_a_seed_always_gives_the_same_run() -> None:
    assert run(5) == run(5)
    assert run(5).steps != run(6).steps


def test_a_worker_that_is_ended_while_another_proxy_uses_it_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Roster, "_withdraw", lambda *_: True)
    with pytest.raises(Violation, match="was stopped by"):
        _run_until_violation()


def test_an_engine_restarts_nothing_that_it_has_been_asked_to_remove() -> None:
    """Else a worker that takes no more statements would take them again, and then be ended."""
    world = World(0)
    proxy = world.proxies[0]
    proxy.begin()
    world.scheduler.run(1.0)
    world._visit("ann", proxy)
    world.scheduler.run(20.0)
    (container,) = (c for c in world.engine.alive() if c.owner)
    backend, handle = proxy.backend, world.engine.handle(container)
    assert backend is not None
    world.faults.slow = 1.0
    world.scheduler.spawn(lambda: backend.stop(handle), proxy.group)
    world.scheduler.run(20.1)
    world.engine.restart(container)
    assert container.owner
    world.scheduler.run(30.0)
    assert container.removed


def test_a_worker_that_is_left_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pondflight.workers.adoption.Adoption.adopt_unknown", lambda *_: None)
    with pytest.raises(Violation, match=r"known to no proxy|left behind"):
        _run_until_violation()


def _run_until_violation() -> None:
    for seed in range(60):
        run(seed)


@pytest.mark.parametrize("reason", [Reason.IDLE_TIMEOUT, Reason.EVICTED])
def test_callers_of_an_ending_worker_wait_for_the_next_one(reason: Reason) -> None:
    ended: list[str] = []

    def retire_all(world: World) -> None:
        for proxy in world.proxies:
            if proxy.pool is not None:
                for worker in proxy.pool._roster.usable():
                    ended.append(worker.generation)
                    proxy.pool._roster.retire(worker, reason)

    world = World(2, Size(visits=60, seconds=60.0, misfortunes=0))
    for when in range(5, 60, 5):
        world.engine.later(float(when), lambda: _in_each(world, retire_all))
    outcomes = world.live().outcomes
    assert outcomes["answered"] > 20
    assert outcomes["refused"] < 5
    assert ended


def _in_each(world: World, action: object) -> None:
    assert callable(action)
    for proxy in world.proxies:
        world.scheduler.spawn(lambda: action(world), proxy.group)


def test_a_sweep_asks_the_backend_once_however_many_workers_there_are() -> None:
    asked = {}
    for count in (20, 40):
        size = Size(users=count, max_workers=100, idle_timeout=600.0, sweep_interval=600.0)
        world = World(3, size)
        world.warm = 0
        proxy = world.proxies[0]
        proxy.begin()
        world.scheduler.run(1.0)
        for number in range(count):
            world._visit(f"user{number}")
        world.scheduler.run(50.0)
        assert proxy.pool is not None
        assert len(proxy.pool._roster.users) == count
        before = world.engine.calls.total() - world.engine.calls["check"]
        world.scheduler.spawn(proxy.pool.sweep, proxy.group)
        world.scheduler.run(51.0)
        asked[count] = world.engine.calls.total() - world.engine.calls["check"] - before
    assert asked == {20: 1, 40: 1}
