"""The backend for Fargate against moto: the contract, and what goes wrong there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from pondflight.workers.backends.base import (
    Backend,
    BackendUnreachable,
    NoSuchWorker,
    StartFailed,
    WorkerExit,
    WorkerHandle,
)
from pondflight.workers.backends.container import Layout
from pondflight.workers.ecs import task as tasks
from pondflight.workers.ecs.aws import Aws
from pondflight.workers.ecs.backend import EcsBackend
from pondflight.workers.ecs.names import Names
from pondflight.workers.ecs.task import Placement
from pondflight.workers.engines import PondflightEngine
from tests.ports import free_ports
from tests.workers.contract import INSTANCE, NAMING, BackendContract, make_spec
from tests.workers.fargate import CLUSTER, DEFINITION, REGION, TABLE, Fargate, aws, define


@pytest.fixture(name="port", scope="module")
def fixture_port() -> int:
    return free_ports(1, "127.0.1.1")[0]


@pytest.fixture(name="fargate")
def fixture_fargate(tmp_path: Path) -> Iterator[Fargate]:
    with aws(tmp_path) as fargate:
        yield fargate


def make_backend(
    subnet: str, port: int, instance: str = INSTANCE, *, endpoint: str = ""
) -> EcsBackend:
    client = Aws(REGION, endpoint)
    return EcsBackend(
        client,
        Layout("", PondflightEngine(port=port)),
        Names(client, TABLE, instance),
        Placement(CLUSTER, DEFINITION, (subnet,)),
        start_seconds=30.0,
    )


class TestEcs(BackendContract):
    @pytest.fixture(name="backend")
    def fixture_backend(self, fargate: Fargate, port: int) -> Iterator[Backend]:
        self.fargate, self.port = fargate, port
        backend = self.another()
        yield backend
        backend.close()

    @pytest.fixture(autouse=True)
    def fixture_always(self, backend: Backend) -> None:
        """For the test that asks for no backend."""

    def kill(self, handle: WorkerHandle) -> None:
        self.fargate.stand_ins.kill(self.fargate.task(handle.id).id)

    def speak(self, handle: WorkerHandle, line: str) -> None:
        pytest.skip("logs are where the task definition puts them")

    def another(self, instance: str = INSTANCE) -> Backend:
        return make_backend(self.fargate.subnet, self.port, instance)

    def unreachable(self) -> Backend:
        return make_backend("", self.port, endpoint=f"http://127.0.0.1:{free_ports(1)[0]}")


@pytest.fixture(name="backend")
def fixture_backend(fargate: Fargate, port: int) -> Iterator[EcsBackend]:
    backend = make_backend(fargate.subnet, port)
    yield backend
    backend.close()


def test_task_has_the_hash_of_its_credential_alone_and_no_rights() -> None:
    spec = make_spec()
    placement = Placement(CLUSTER, DEFINITION, ("subnet-1",))
    found = tasks.request(spec, Layout("", PondflightEngine()), placement)
    assert spec.credential not in str(found)
    assert spec.credential_sha256 in str(found)
    assert "taskRoleArn" not in found["overrides"]
    assert found["enableExecuteCommand"] is False
    assert found["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"
    assert found["clientToken"] == found["startedBy"] == spec.generation
    assert {"key": "pondflight.instance", "value": INSTANCE} in found["tags"]


@pytest.mark.parametrize(
    ("cores", "megabytes", "size"),
    [
        (0.25, 512, (256, 512)),
        (0.5, 512, (512, 1024)),
        (0.25, 3000, (512, 3072)),
        (1.0, 512, (1024, 2048)),
        (8.0, 17 << 10, (8192, 20 << 10)),
    ],
)
def test_task_is_the_smallest_that_fits(
    cores: float, megabytes: int, size: tuple[int, int]
) -> None:
    assert tasks.size_of(make_spec(cpu_limit=cores, memory_limit=megabytes << 20)) == size


def test_size_that_fargate_does_not_have_is_said(backend: EcsBackend) -> None:
    with pytest.raises(StartFailed, match="no task of Fargate has 32 cores"):
        backend.start(make_spec(cpu_limit=32.0))
    assert backend.list_workers() == []


def test_refusal_fails_the_start_with_its_reason_and_frees_the_name(
    fargate: Fargate, backend: EcsBackend
) -> None:
    fargate.ecs.run_task = fargate._run  # moto's own, which knows what it refuses
    backend.placement = Placement(CLUSTER, "nowhere:7", (fargate.subnet,))
    with pytest.raises(StartFailed, match="Unable to describe task definition"):
        backend.start(make_spec())
    assert backend.list_workers() == []


def test_task_whose_proxy_went_away_before_it_knew_it_is_found_and_ended(
    fargate: Fargate, backend: EcsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise BackendUnreachable("gone")

    spec = make_spec()
    with monkeypatch.context() as patch:
        patch.setattr(Names, "point", lose)
        patch.setattr(EcsBackend, "_end", lose)
        with pytest.raises(BackendUnreachable):
            backend.start(spec)
    handle = backend.find(spec.name)
    assert handle is not None
    assert handle.location == ""
    backend.stop(handle)
    assert backend.find(spec.name) is None
    (task,) = fargate.ecs.tasks[CLUSTER].values()
    assert task.last_status == "STOPPED"


def test_worker_that_another_proxy_claims_is_not_taken_for_an_ended_one(
    backend: EcsBackend, fargate: Fargate, port: int
) -> None:
    generation = secrets.token_hex(8)
    spare = make_spec(name=NAMING.of_spare(generation), user="", generation=generation)
    handle = backend.start(spare)
    claimed = make_backend(fargate.subnet, port).claim(handle, make_spec().name)
    assert claimed.id == handle.id
    assert backend.exit_of(handle) is None
    with pytest.raises(NoSuchWorker):
        backend.claim(handle, make_spec().name)


def test_end_tells_the_code_and_whether_memory_ran_out() -> None:
    container = {"name": "worker", "exitCode": 137, "reason": "OutOfMemoryError: killed"}
    found = tasks.end_of({"containers": [{"name": "other", "exitCode": 0}, container]}, "worker")
    assert found == WorkerExit(137, out_of_memory=True)
    assert tasks.end_of({"containers": []}, "worker") == WorkerExit()


def test_check_names_what_is_wrong(backend: EcsBackend) -> None:
    assert backend.check() == []
    ecs = boto3.client("ecs", region_name=REGION)
    role = "arn:aws:iam::123456789012:role/admin"
    define(ecs, taskRoleArn=role, networkMode="bridge", requiresCompatibilities=["EC2"])
    backend.placement = Placement("nowhere", "pond-worker:2", (), container="duck")
    backend._names.table = "other"
    messages = [problem.message for problem in backend.check()]
    assert len(messages) == 5
    assert "there is no cluster nowhere" in messages
    assert "pond-worker:2: it has a task role, whose rights workers would have" in messages
    assert "pond-worker:2: its network mode is not awsvpc" in messages
    assert "pond-worker:2: it has no container duck (ecs.container)" in messages


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_what_is_no_fault_of_a_request_is_no_fault_of_a_start(code: str) -> None:
    with pytest.raises(BackendUnreachable, match=f"AWS: .*{code}"):
        with Aws(REGION).client("ecs"):
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "RunTask")
