"""The backend for Fly.io against a fake of its API: the contract, and what goes wrong there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pondflight.workers.backends.base import (
    Backend,
    BackendUnreachable,
    Phase,
    StartFailed,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.backends.container import Layout
from pondflight.workers.engines import PondflightEngine
from pondflight.workers.fly import machine as machines
from pondflight.workers.fly.api import Access, FlyApi
from pondflight.workers.fly.backend import FlyBackend
from pondflight.workers.fly.machine import LISTEN, Placement
from pondflight.workers.spec import BoundFile
from tests.ports import free_ports
from tests.workers.contract import INSTANCE, BackendContract, make_spec
from tests.workers.fly_api import FlyApiFake

APP = "ponds"


@pytest.fixture(name="port", scope="module")
def fixture_port() -> int:
    return free_ports(1, "127.0.1.1")[0]


@pytest.fixture(name="fake")
def fixture_fake(tmp_path: Path) -> Iterator[FlyApiFake]:
    fake = FlyApiFake(tmp_path)
    yield fake
    fake.close()


def make_backend(
    fake: FlyApiFake, port: int, instance: str = INSTANCE, **access: str
) -> FlyBackend:
    found = {"app": APP, "token": fake.token, "url": fake.url} | access
    engine = PondflightEngine(port=port, host=LISTEN)
    return FlyBackend(
        FlyApi(Access(**found), timeout=3.0), Layout("pondflight:tests", engine), instance
    )


class TestFly(BackendContract):
    @pytest.fixture(name="backend")
    def fixture_backend(self, fake: FlyApiFake, port: int) -> Iterator[Backend]:
        self.fake, self.port = fake, port
        backend = make_backend(fake, port)
        yield backend
        backend.close()

    @pytest.fixture(autouse=True)
    def fixture_parts(self, backend: Backend) -> None:
        """For tests that ask for no backend."""

    def kill(self, handle: WorkerHandle) -> None:
        self.fake.stand_ins.kill(handle.id)

    def speak(self, handle: WorkerHandle, line: str) -> None:
        pytest.skip("the Machines API has no logs")

    def another(self, instance: str = INSTANCE) -> Backend:
        return make_backend(self.fake, self.port, instance)

    def unreachable(self) -> Backend:
        return make_backend(self.fake, self.port, url=f"http://127.0.0.1:{free_ports(1)[0]}")

    def test_claimed_worker_is_the_same_worker(self, backend: Backend) -> None:
        pytest.skip("a Machine cannot be renamed; settings refuse warm ones")


@pytest.fixture(name="backend")
def fixture_backend(fake: FlyApiFake, port: int) -> Iterator[FlyBackend]:
    backend = make_backend(fake, port)
    yield backend
    backend.close()


def test_machine_has_the_hash_of_its_credential_alone_and_never_restarts(
    fake: FlyApiFake, backend: FlyBackend
) -> None:
    spec = make_spec()
    backend.start(spec)
    machine = fake.machine(APP, spec.name)
    text, config = json.dumps(machine), machine["config"]
    assert spec.credential not in text
    assert hashlib.sha256(spec.credential.encode()).hexdigest() in text
    assert config["restart"] == {"policy": "no"}
    assert config["auto_destroy"] is False
    assert config["services"] == []
    assert config["guest"] == {"cpu_kind": "shared", "cpus": 1, "memory_mb": 512}
    assert f"--listen=grpc://fly-local-6pn:{backend.layout.engine.port}" in config["init"]["cmd"]


@pytest.mark.parametrize(
    ("kind", "cores", "megabytes", "cpus", "memory"),
    [
        ("shared", 0.5, 300, 1, 512),
        ("shared", 1.0, 4096, 2, 4096),
        ("shared", 3.0, 256, 4, 1024),
        ("performance", 1.0, 512, 1, 2048),
        ("performance", 2.0, 20 << 10, 4, 20 << 10),
    ],
)
def test_machine_is_the_smallest_that_fits(
    kind: str, cores: float, megabytes: int, cpus: int, memory: int
) -> None:
    spec = make_spec(cpu_limit=cores, memory_limit=megabytes << 20)
    guest = machines.guest_of(spec, kind)
    assert guest == {"cpu_kind": kind, "cpus": cpus, "memory_mb": memory}


def test_no_machine_that_is_large_enough_is_said_before_anything_is_asked(
    fake: FlyApiFake, backend: FlyBackend
) -> None:
    with pytest.raises(StartFailed, match="no shared Machine has 16 cores"):
        backend.start(make_spec(cpu_limit=16.0))
    with pytest.raises(StartFailed, match=r"/data/a\.db is one of a host"):
        backend.start(make_spec(files=(BoundFile("/data/a.db"),)))
    assert fake.calls == []


def test_worker_has_what_memory_the_machine_leaves_it() -> None:
    def memory(megabytes: int) -> int:
        spec = make_spec(memory_limit=megabytes << 20)
        layout = Layout("x", PondflightEngine())
        command = machines.manifest(spec, layout, Placement())["config"]["init"]["cmd"]
        (found,) = [one for one in command if one.startswith("--memory-limit=")]
        return int(found.partition("=")[2]) >> 20

    assert memory(512) == 512 - 64 - 64  # kernel, scratch
    assert memory(400) == 400 - 64


def test_too_many_calls_are_made_again_and_count_for_nothing(
    fake: FlyApiFake, backend: FlyBackend
) -> None:
    fake.refuse = 3
    assert backend.list_workers() == []
    assert backend.reachable
    assert len(fake.calls) == 4


def test_what_was_made_although_its_answer_is_lost_is_removed(
    backend: FlyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = FlyApi.create

    def lose(self: FlyApi, body: dict[str, Any]) -> dict[str, Any]:
        create(self, body)
        raise BackendUnreachable("no answer")

    monkeypatch.setattr(FlyApi, "create", lose)
    with pytest.raises(BackendUnreachable):
        backend.start(make_spec())
    assert backend.list_workers() == []


def test_machine_that_ends_at_once_is_a_failed_start_and_nothing_is_left(
    fake: FlyApiFake, backend: FlyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, *_: Any) -> None:
        fake._apps[APP][name]["state"] = "failed"

    monkeypatch.setattr(fake.stand_ins, "start", fail)
    with pytest.raises(StartFailed, match="is failed"):
        FlyBackend(backend._api, backend.layout, INSTANCE, start_seconds=1.0).start(make_spec())
    assert backend.list_workers() == []


def test_machine_of_a_host_that_does_not_answer_is_still_known(
    fake: FlyApiFake, backend: FlyBackend
) -> None:
    spec = make_spec()
    handle = backend.start(spec)
    machine = fake.machine(APP, spec.name)
    row = {**machine, "host_status": "unreachable", "config": None}
    row["incomplete_config"] = {"metadata": machine["config"]["metadata"]}
    assert machines.handle_of(row, backend.layout.engine.port) == handle


def test_foreign_machines_are_left_alone(fake: FlyApiFake, backend: FlyBackend) -> None:
    spec = make_spec()
    backend.start(spec)
    copy = {**fake.machine(APP, spec.name), "id": "copy", "name": "a-copy"}
    fake._apps[APP]["copy"] = copy
    assert [worker.name for worker in backend.list_workers()] == [spec.name]


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([], WorkerExit()),
        ([{"type": "exit", "request": {"exit_event": {}}}], WorkerExit(0)),
        (
            [
                {"timestamp": 1, "request": {"exit_event": {"exit_code": 1}}},
                {
                    "timestamp": 2,
                    "request": {
                        "MonitorEvent": {"exit_event": {"exit_code": 137, "oom_killed": True}}
                    },
                },
                {"timestamp": 3, "type": "update"},
            ],
            WorkerExit(137, out_of_memory=True),
        ),
    ],
)
def test_end_is_what_the_newest_event_says(events: list[dict[str, Any]], end: WorkerExit) -> None:
    assert machines.end_of({"events": events}) == end


def test_states_that_nobody_knows_have_ended() -> None:
    assert machines.phase_of({"state": "started"}) is Phase.RUNNING
    assert machines.phase_of({"state": "launch_failed"}) is Phase.ENDED


def test_check_names_what_is_wrong(
    fake: FlyApiFake, backend: FlyBackend, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend.check() == []
    (problem,) = make_backend(fake, port, app="nowhere").check()
    assert problem.message == "the app nowhere: app not found"
    (problem,) = make_backend(fake, port, token="old").check()
    assert "does not accept the token" in problem.message
    fake.broken = True
    (problem,) = backend.check()
    assert "answers 503: unavailable" in problem.message
    monkeypatch.setenv("FLY_APP_NAME", APP)
    (problem,) = backend.check()
    assert "proxy's own app" in problem.message


def test_wait_is_over_when_the_machine_is_gone_or_time_is_up(backend: FlyBackend) -> None:
    handle = backend.start(make_spec())
    began = time.monotonic()
    assert not backend._api.wait(handle.id, "destroyed", 1.0)
    assert 0.9 < time.monotonic() - began < 3
    assert backend._api.wait("none", "destroyed", 1.0)
