"""Reverse proxies, and the evidence that is kept when a test fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.bundle.front import Caddy, Front
from integration.deployment import Deployment
from integration.evidence import has_failed, keep_containers

Start = Callable[..., Front]


@pytest.fixture(scope="module", name="start")
def fixture_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a function that starts reverse proxies: ``start(Nginx, deployment)``.

    They end with the module.
    """
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
    """Start Caddy in front of the module's deployment."""
    return start(Caddy, deployment)


@pytest.fixture(autouse=True)
def _evidence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Keep the logs and all containers of a test that fails."""
    yield
    if not has_failed(request.node):
        return
    for name in ("deployment", "caddy"):
        if name in request.fixturenames:
            log = request.getfixturevalue(name).log()[-20_000:]
            sys.stdout.write(f"--- {name}\n{log}\n")
    if IN_ENGINE:
        keep_containers(os.environ["DOCKER_HOST"], tmp_path, request.node.name)


IN_ENGINE = "PONDFLIGHT_TEST_ENGINE" in os.environ
"""Whether a Docker engine of our own is there: see integration/docker/engine.py."""

FOLDER = Path(__file__).parent
