from __future__ import annotations

import logging

import pytest

from pondflight.workers import readiness
from pondflight.workers.backends.base import Problem
from pondflight.workers.backends.process import ProcessBackend
from tests.waiting import wait_until
from tests.workers.conftest import MakePool, visit

MISSING = Problem("image", "the Docker engine has no image x", "docker pull x")


class Ill(ProcessBackend):
    """A backend that lacks something, for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Problem] | Exception = [MISSING]

    def check(self) -> list[Problem]:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture(name="quick", autouse=True)
def fixture_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_WELL_SECONDS", 0.05)
    monkeypatch.setattr(readiness, "_ILL_SECONDS", 0.05)


def test_a_pool_whose_backend_lacks_something_is_not_ready_until_it_is_there(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = Ill()
    pool = make_pool(backend=backend)
    assert not pool.ready
    assert pool.problems == (MISSING,)
    backend.found = []
    wait_until(lambda: pool.ready)
    backend.found = [MISSING]
    wait_until(lambda: not pool.ready)
    assert visit(pool, "ann")  # who can be served is served
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if line.startswith("Workers can")] == [
        "Workers cannot start",
        "Workers can start again",
        "Workers cannot start",
    ]


def test_a_look_that_fails_does_not_end_looking(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Ill()
    pool = make_pool(backend=backend)
    backend.found = RuntimeError("not foreseen")
    wait_until(lambda: "could not be asked" in caplog.text)
    backend.found = []
    wait_until(lambda: pool.ready)
