from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.docker.engine import IMAGE, Engine
from pondflight.workers.backends.base import Backend, WorkerHandle
from pondflight.workers.backends.container import Layout
from pondflight.workers.backends.docker import DockerBackend
from pondflight.workers.backends.docker_api import DockerApi
from pondflight.workers.engines import PondflightEngine
from tests.workers.contract import INSTANCE, BackendContract

LAYOUTS = {
    "addresses": Layout(IMAGE, PondflightEngine()),
    "published": Layout(IMAGE, PondflightEngine(), publish=True),
    "network": Layout(IMAGE, PondflightEngine(), network="pondflight-test"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
class TestDocker(BackendContract):
    @pytest.fixture(autouse=True)
    def fixture_engine_of_the_tests(self, engine: Engine, layout: str) -> None:
        self.engine = engine
        self.layout = LAYOUTS[layout]

    @pytest.fixture(name="backend")
    def fixture_backend(self, fixture_engine_of_the_tests: None) -> Iterator[Backend]:
        backend = self.another()
        yield backend
        backend.close()

    def kill(self, handle: WorkerHandle) -> None:
        self.engine.docker("kill", handle.id)

    def speak(self, handle: WorkerHandle, line: str) -> None:
        pid = self.engine.docker("inspect", "--format", "{{.State.Pid}}", handle.id)
        with Path(f"/proc/{pid}/fd/2").open("w") as stderr:
            stderr.write(line + "\n")

    def another(self, instance: str = INSTANCE) -> Backend:
        return DockerBackend(DockerApi(self.engine.host), self.layout, instance)

    def unreachable(self) -> Backend:
        nowhere = Path(self.engine.folder) / "nowhere.sock"
        return DockerBackend(DockerApi(f"unix://{nowhere}"), self.layout, INSTANCE)
