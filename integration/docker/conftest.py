from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.docker.engine import IMAGE, VARIABLE, Engine
from integration.evidence import has_failed, keep_containers
from pondflight.telemetry import logs
from pondflight.workers.backends.container import Layout
from pondflight.workers.backends.docker import DockerBackend
from pondflight.workers.backends.docker_api import DockerApi
from pondflight.workers.engines import PondflightEngine
from pondflight.workers.naming import instance_of
from pondflight.workers.policy import Shape
from tests.proxy.conftest import Deployment

if not os.environ.get(VARIABLE):
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header() -> str:
    """Say it where it can be seen."""
    if os.environ.get(VARIABLE):
        return "Docker engine: our own"
    return "integration/docker is not run without its engine: make integration-docker"


def pytest_configure(config: pytest.Config) -> None:
    """Docker's client for Python leaves a socket to the collector when it cannot connect."""
    config.addinivalue_line("filterwarnings", r"ignore:unclosed .*socket.*family=1:ResourceWarning")


class DockerDeployment(Deployment):
    """A proxy in this process, with workers in containers.

    Several with one ``secret`` are proxies of one deployment.
    """

    def __init__(
        self,
        docker: Engine,
        *,
        secret: str | None = None,
        layout: dict[str, Any] | None = None,
        api: DockerApi | None = None,
        memory_limit: int = 512 << 20,
        cpu_limit: float = 2.0,
        **settings: Any,
    ) -> None:
        self.engine = docker
        secret = secret or secrets.token_urlsafe(32)
        instance = instance_of(secret)
        values: dict[str, Any] = {"image": IMAGE, "engine": PondflightEngine()}
        backend = DockerBackend(
            api or DockerApi(docker.host), Layout(**values | (layout or {})), instance
        )
        defaults: dict[str, Any] = {
            "instance": instance,
            "shape": lambda _: Shape(memory_limit, cpu_limit),
        }
        super().__init__(backend, secret, **defaults | settings)

    def container(self, sub: str) -> str:
        """The id of the container of a user."""
        name = f"pondflight-{self.pool.settings.instance}-{self.pool.key_of(sub)}"
        return self.engine.docker("inspect", "--format", "{{.Id}}", name)

    def containers(self) -> list[str]:
        """The names of all containers of the deployment, dead ones too."""
        label = f"label=pondflight.instance={self.pool.settings.instance}"
        return self.engine.docker(
            "ps", "--all", "--format", "{{.Names}}", "--filter", label
        ).split()

    def inspect(self, container: str, what: str) -> str:
        """A field of ``docker inspect``."""
        return self.engine.docker("inspect", "--format", what, container)


@contextmanager
def restarted_with(engine: Engine, *options: str) -> Iterator[None]:
    """Start the engine anew, with options of dockerd."""
    engine.stop()
    engine.start(*options)
    try:
        yield
    finally:
        if engine.answers():
            left = engine.docker("ps", "--all", "--quiet").split()
            engine.docker("rm", "--force", *left)
            engine.stop()
        engine.start()


MakeDeployment = Callable[..., DockerDeployment]
Log = Callable[[], str]


@pytest.fixture(name="log")
def fixture_log(capsys: pytest.CaptureFixture[str]) -> Log:
    """Gives what was logged since it was asked last."""
    logs.configure()
    return lambda: capsys.readouterr().err


@pytest.fixture(name="engine", scope="session")
def fixture_engine() -> Engine:
    return Engine.current()


@pytest.fixture(autouse=True)
def fixture_no_containers(
    engine: Engine, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[None]:
    """Each test begins and ends without containers; what is left of one that failed is kept."""
    yield
    if has_failed(request.node) and engine.answers():
        keep_containers(engine.host, tmp_path, request.node.name)
    left = engine.docker("ps", "--all", "--quiet").split()
    if left:
        engine.docker("rm", "--force", "--volumes", *left)


@pytest.fixture(name="deploy")
def fixture_deploy(engine: Engine, fixture_no_containers: None) -> Iterator[MakeDeployment]:
    made: list[DockerDeployment] = []

    def deploy(**settings: Any) -> DockerDeployment:
        made.append(DockerDeployment(engine, **settings))
        return made[-1]

    yield deploy
    for deployment in reversed(made):
        deployment.close()
