"""Fixtures for all suites: a deployment of their own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.deployment import Deployment
from integration.evidence import REPORTS

Deploy = Callable[..., Deployment]


@pytest.fixture(scope="module", name="deploy")
def fixture_deploy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """Return a function that starts deployments.

    ``deploy({"sessions": {"max_per_user": 2}}, {"NAME": "value"})`` takes configuration and
    environment. Deployments end with the module.
    """
    started: list[Deployment] = []

    def deploy(
        config: dict[str, Any] | None = None, environ: dict[str, str] | None = None
    ) -> Deployment:
        folder: Path = tmp_path_factory.mktemp("deployment")
        deployment = Deployment(folder, config, environ)
        started.append(deployment)
        deployment.start()
        return deployment

    yield deploy
    for deployment in started:
        deployment.stop()


@pytest.fixture(scope="module", name="deployment")
def fixture_deployment(deploy: Deploy, request: pytest.FixtureRequest) -> Deployment:
    """Return the deployment of a module, with the module's ``CONFIG`` if it has one."""
    return deploy(getattr(request.module, "CONFIG", None))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Store the reports where fixtures find them."""
    report = yield
    item.stash.setdefault(REPORTS, []).append(report)
    return report
