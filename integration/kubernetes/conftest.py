from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.kubernetes import build
from integration.kubernetes.cluster import Cluster
from integration.kubernetes.node import Node, create_namespace
from pondflight.telemetry import logs
from pondflight.workers.backends.base import BackendError
from pondflight.workers.backends.container import Layout
from pondflight.workers.engines import PondflightEngine
from pondflight.workers.kubernetes.backend import KubernetesBackend
from pondflight.workers.kubernetes.pod import Placement
from pondflight.workers.naming import instance_of
from pondflight.workers.policy import Shape
from tests.ports import free_ports
from tests.proxy.conftest import Deployment

PROGRAMS = build.programs()
RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}

if PROGRAMS is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header() -> str:
    """Say it where it can be seen."""
    if PROGRAMS is not None:
        return f"Kubernetes: {PROGRAMS}"
    return "integration/kubernetes is not run without its server: make integration-kubernetes"


@pytest.fixture(name="port", scope="session")
def fixture_port() -> int:
    """The port of all workers; each has an address of its own."""
    return free_ports(1, "127.0.1.1")[0]


@pytest.fixture(name="cluster", scope="session")
def fixture_cluster() -> Iterator[Cluster]:
    assert PROGRAMS is not None
    folder = Path(tempfile.mkdtemp(prefix="pf-k8s-"))
    cluster = Cluster(PROGRAMS, folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="namespace")
def fixture_namespace(cluster: Cluster) -> str:
    """A namespace of the test's own, which admits pods by the strictest standard."""
    name = f"t-{secrets.token_hex(4)}"
    with contextlib.closing(cluster.api(name)) as api:
        create_namespace(api, name, labels=RESTRICTED)
    return name


@pytest.fixture(name="node")
def fixture_node(cluster: Cluster, namespace: str) -> Iterator[Node]:
    node = Node(cluster, namespace, f"n-{namespace}")
    yield node
    node.close()


def make_backend(
    cluster: Cluster,
    namespace: str,
    port: int,
    instance: str,
    *,
    kubeconfig: Path | None = None,
    start_seconds: float = 30.0,
    api: dict[str, Any] | None = None,
    **placement: Any,
) -> KubernetesBackend:
    """The backend, as a proxy of the deployment ``instance`` has it."""
    return KubernetesBackend(
        cluster.api(namespace, kubeconfig, **(api or {})),
        Layout("pondflight:tests", PondflightEngine(port=port)),
        instance,
        Placement(**placement),
        start_seconds=start_seconds,
    )


class KubernetesDeployment(Deployment):
    """A proxy in this process, with workers in pods. Several with one secret are one deployment."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        port: int,
        *,
        secret: str | None = None,
        backend: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        secret = secret or secrets.token_urlsafe(32)
        instance = instance_of(secret)
        made = make_backend(cluster, namespace, port, instance, **(backend or {}))
        defaults: dict[str, Any] = {
            "instance": instance,
            "shape": lambda _: Shape(256 << 20, 1.0),
            "concurrent_starts": 8,
            "max_workers": 200,
        }
        super().__init__(made, secret, **defaults | settings)


MakeDeployment = Callable[..., KubernetesDeployment]
Log = Callable[[], str]


@pytest.fixture(name="log")
def fixture_log(capsys: pytest.CaptureFixture[str]) -> Log:
    """Gives what was logged since it was asked last."""
    logs.configure()
    return lambda: capsys.readouterr().err


@pytest.fixture(name="deploy")
def fixture_deploy(
    cluster: Cluster, namespace: str, port: int, node: Node
) -> Iterator[MakeDeployment]:
    made: list[KubernetesDeployment] = []

    def deploy(**settings: Any) -> KubernetesDeployment:
        made.append(KubernetesDeployment(cluster, namespace, port, **settings))
        return made[-1]

    yield deploy
    for deployment in reversed(made):
        with contextlib.suppress(BackendError):
            deployment.close()
