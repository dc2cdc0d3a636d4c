from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pondflight.serve.desk import Asker, Desk
from pondflight.workers.backends.base import Backend, WorkerHandle
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.backends.shared import QUESTIONS, SharedProcesses
from tests.waiting import wait_until
from tests.workers.contract import INSTANCE, BackendContract, make_spec

KEY = b"of this test"


class Subprocesses(BackendContract):
    def kill(self, handle: WorkerHandle) -> None:
        os.kill(int(handle.id), signal.SIGKILL)

    def speak(self, handle: WorkerHandle, line: str) -> None:
        with Path(f"/proc/{handle.id}/fd/2").open("w") as stderr:
            stderr.write(line + "\n")

    def unreachable(self) -> Backend:
        pytest.skip("subprocesses need no engine")


class TestProcess(Subprocesses):
    @pytest.fixture(name="backend")
    def fixture_backend(self) -> Iterator[Backend]:
        backend = ProcessBackend()
        yield backend
        backend.close()

    def another(self, instance: str = INSTANCE) -> Backend:
        pytest.skip("a subprocess belongs to the proxy that started it")

    def test_its_log_is_read_on_when_it_cannot_be_passed_on(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A pipe that nobody empties stops the worker."""
        handle = backend.start(make_spec())
        stderr = io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)
        monkeypatch.setattr("sys.stderr", stderr)
        for line in ("não", "no"):
            self.speak(handle, line)
        wait_until(lambda: backend.logs(handle)[-2:] == ["não", "no"])


class TestSharedProcesses(Subprocesses):
    """The backend of a proxy process, whose parent owns the workers."""

    @pytest.fixture(name="backend")
    def fixture_backend(self, tmp_path: Path) -> Iterator[Backend]:
        owned = ProcessBackend()
        services = {name: getattr(owned, name) for name in QUESTIONS}
        desk = Desk(tmp_path, "parent", KEY, services)
        self.folder = tmp_path
        backend = self.another()
        yield backend
        backend.close()
        desk.close()
        owned.close()

    def another(self, instance: str = INSTANCE) -> Backend:
        if instance != INSTANCE:
            pytest.skip("a parent has the workers of one deployment")
        return SharedProcesses(Asker(self.folder, "parent", KEY))
