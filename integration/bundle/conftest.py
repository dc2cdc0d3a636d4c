"""Fronts, and the evidence that is kept when a test fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from integration.bundle.front import Caddy, Front
from integration.deployment import Deployment

Start = Callable[..., Front]
REPORT = pytest.StashKey[pytest.TestReport]()


@pytest.fixture(scope="module", name="start")
def fixture_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts fronts: ``start(Nginx, deployment)``. They end with the module."""
    started: list[Front] = []

    def start(kind: Callable[..., Front], deployment: Deployment, **options: str) -> Front:
        front = kind(deployment, tmp_path_factory.mktemp("front"), **options)
        started.append(front)
        front.start()
        return front

    yield start
    for front in started:
        front.stop()


@pytest.fixture(scope="module", name="caddy")
def fixture_caddy(start: Start, deployment: Deployment) -> Front:
    """Caddy in front of the module's deployment."""
    return start(Caddy, deployment)


@pytest.fixture(autouse=True)
def _evidence(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show the logs of what took part in a test that fails."""
    yield
    report = request.node.stash.get(REPORT, None)
    if report is None or not report.failed:
        return
    for name in ("deployment", "caddy"):
        if name in request.fixturenames:
            log = request.getfixturevalue(name).log()[-20_000:]
            sys.stdout.write(f"--- {name}\n{log}\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave the report where the fixture finds it."""
    report = yield
    if report.when == "call":
        item.stash[REPORT] = report
    return report


IN_ENGINE = "PONDFLIGHT_TEST_ENGINE" in os.environ
"""Whether a Docker engine of our own is there: see integration/docker/engine.py."""

FOLDER = Path(__file__).parent
