"""What goes wrong in a cluster, and what exactly happens then."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyarrow import flight

from integration.kubernetes.cluster import Cluster
from integration.kubernetes.conftest import (
    KubernetesDeployment,
    Log,
    MakeDeployment,
    make_backend,
)
from integration.kubernetes.node import Node
from pondflight.workers.backends.base import (
    Backend,
    BackendUnreachable,
    NameTaken,
    Phase,
    StartFailed,
    WorkerHandle,
)
from pondflight.workers.circuit import Circuit
from pondflight.workers.kubernetes import api as api_module
from pondflight.workers.kubernetes import backend as backend_module
from pondflight.workers.kubernetes.api import KubernetesApi
from pondflight.workers.kubernetes.backend import KubernetesBackend
from tests.waiting import wait_until
from tests.workers.contract import INSTANCE, NAMING, configured, make_spec

AWAY = float(os.environ.get("PONDFLIGHT_AWAY", "6"))
"""Seconds that the API server is away."""


@pytest.fixture(name="admin")
def fixture_admin(cluster: Cluster, namespace: str) -> Iterator[KubernetesApi]:
    with contextlib.closing(cluster.api(namespace)) as api:
        yield api


@pytest.fixture(name="backend")
def fixture_backend(
    cluster: Cluster, namespace: str, node: Node, port: int
) -> Iterator[KubernetesBackend]:
    backend = make_backend(cluster, namespace, port, INSTANCE)
    yield backend
    backend.close()


def refused(deployment: KubernetesDeployment, user: str) -> str:
    with pytest.raises(flight.FlightUnavailableError) as caught:
        deployment.client(user).rows("SELECT 1")
    return str(caught.value)


def spare(backend: KubernetesBackend) -> WorkerHandle:
    generation = os.urandom(8).hex()
    return backend.start(
        make_spec(
            name=NAMING.of_spare(generation),
            user="",
            generation=generation,
            credential=NAMING.credential(generation),
        )
    )


# -- the API server ---------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_api_server_away_new_users_are_told_and_others_notice_nothing(
    deploy: MakeDeployment, cluster: Cluster
) -> None:
    deployment = deploy(backend={"api": {"timeout": 2.0}}, sweep_interval=0.5)
    ann = deployment.client("ann")
    ann.rows("CREATE TABLE t AS SELECT 42 AS n")
    cluster.stop_server()
    try:
        until = time.monotonic() + AWAY
        told: set[str] = set()
        while time.monotonic() < until:
            assert ann.rows("SELECT n FROM t") == [(42,)]
            told.add(refused(deployment, "bob"))
            time.sleep(0.3)
        assert all("does not answer; try again in a moment" in text for text in told)
        assert _is_away(deployment.backend)
    finally:
        cluster.start_server()
    wait_until(lambda: deployment.backend.reachable, 30)
    wait_until(lambda: _answers(deployment, "bob"), 60)
    assert ann.rows("SELECT n FROM t") == [(42,)]


def _is_away(backend: Backend) -> bool:
    return not backend.reachable


def _answers(deployment: KubernetesDeployment, user: str) -> bool:
    with contextlib.suppress(flight.FlightUnavailableError):
        return deployment.client(user).rows("SELECT 1") == [(1,)]
    return False


def test_api_server_that_hangs_is_given_up_in_time(
    cluster: Cluster, namespace: str, node: Node, port: int
) -> None:
    circuit = Circuit(first=0.2, longest=0.5)
    backend = make_backend(
        cluster, namespace, port, INSTANCE, api={"timeout": 1.0, "circuit": circuit}
    )
    assert backend.list_workers() == []
    with cluster.frozen():
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(BackendUnreachable, match="did not answer within 1 s"):
                backend.list_workers()
            assert time.monotonic() - began < 3
        with pytest.raises(BackendUnreachable, match="not asked again"):
            backend.list_workers()
        assert _is_away(backend)
    wait_until(lambda: _lists(backend), 30)
    assert backend.reachable
    backend.close()


def _lists(backend: KubernetesBackend) -> bool:
    with contextlib.suppress(BackendUnreachable):
        return backend.list_workers() == []
    return False


def test_api_server_that_is_slow_costs_new_users_some_seconds_and_others_nothing(
    deploy: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy(sweep_interval=1.0)
    ann = deployment.client("ann")
    ann.rows("SELECT 1")
    assert isinstance(deployment.backend, KubernetesBackend)
    api = deployment.backend._api
    send = api._send

    def slow(*arguments: Any) -> Any:
        time.sleep(0.4)
        return send(*arguments)

    monkeypatch.setattr(api, "_send", slow)
    with ThreadPoolExecutor(1) as executor:
        bob = executor.submit(deployment.client("bob").rows, "SELECT 2")
        longest = 0.0
        while not bob.done():
            began = time.monotonic()
            assert ann.rows("SELECT 1") == [(1,)]
            longest = max(longest, time.monotonic() - began)
        assert bob.result() == [(2,)]
    assert longest < 0.4
    assert deployment.backend.reachable


def test_watch_that_grew_old_begins_again(
    backend: KubernetesBackend, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.stop_server()
    cluster.start_server()  # it knows nothing of what was before
    path = backend._api.path("pods")
    (refusal,) = backend._api.events(path, seconds=5, resourceVersion="1")
    assert (refusal["type"], refusal["object"]["code"]) == ("ERROR", 410)

    real = backend._api.get
    asked: list[dict[str, Any]] = []

    def get(path: str, **query: Any) -> dict[str, Any]:
        found = real(path, **query)
        if query.get("limit") == 1 and not asked:
            asked.append(query)
            found["metadata"]["resourceVersion"] = "1"
        return found

    monkeypatch.setattr(backend._api, "get", get)
    handle = backend.start(make_spec())
    assert asked
    assert handle.phase is Phase.RUNNING
    backend.stop(handle)


def test_server_errors_count_as_no_answer(cluster: Cluster, namespace: str, port: int) -> None:
    """With etcd away the API server answers, but only that it cannot."""
    backend = make_backend(cluster, namespace, port, INSTANCE, api={"timeout": 8.0})
    backend.list_workers()
    with cluster.frozen("etcd"), pytest.raises(BackendUnreachable) as caught:
        backend.start(make_spec())
    assert "API server" in str(caught.value)
    backend.close()


def test_rights_that_are_missing_are_named_to_the_operator_alone(
    deploy: MakeDeployment, cluster: Cluster, log: Log
) -> None:
    nobody = cluster.credentials("nobody-at-all")
    deployment = deploy(backend={"kubeconfig": nobody}, sweep_interval=3600.0)
    (problem,) = deployment.backend.check()
    for right in ("create pods", "get pods/log", "create leases"):
        assert right in problem.message
    assert "rbac.yaml" in problem.advice
    text = refused(deployment, "ann")
    assert "pods" not in text
    assert "nobody-at-all" not in text
    assert "cannot create resource" in log()


def test_role_of_the_manifests_is_enough(
    cluster: Cluster, namespace: str, admin: KubernetesApi, node: Node, port: int
) -> None:
    path = Path(__file__).parents[2] / "deploy/kubernetes/base/rbac.yaml"
    role = next(one for one in yaml.safe_load_all(path.read_text()) if one["kind"] == "Role")
    group = "apis/rbac.authorization.k8s.io/v1"
    role["metadata"] = {"name": "r", "namespace": namespace}
    admin.create(admin.path("roles", group=group), role)
    subject = {"kind": "User", "name": "proxy", "apiGroup": "rbac.authorization.k8s.io"}
    reference = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    admin.create(
        admin.path("rolebindings", group=group),
        {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [subject]},
    )
    kubeconfig = cluster.credentials("proxy")
    backend = make_backend(cluster, namespace, port, INSTANCE, kubeconfig=kubeconfig)
    wait_until(lambda: backend.check() == [])
    warm = spare(backend)
    configured(warm, "")
    claimed = backend.claim(warm, NAMING.of_user(NAMING.key("ann")))
    assert backend.logs(claimed) is not None
    backend.stop(claimed)
    assert backend.list_workers() == []
    backend.close()


def test_quota_that_is_used_up_is_named_to_the_operator_alone(
    deploy: MakeDeployment, admin: KubernetesApi, log: Log
) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
    admin.create(admin.path("resourcequotas"), quota)
    wait_until(lambda: "hard" in admin.get(admin.path("resourcequotas", "q")).get("status", {}))
    deployment = deploy()
    assert deployment.client("ann").rows("SELECT 1") == [(1,)]
    text = refused(deployment, "bob")
    assert "could not be started" in text
    assert "quota" not in text
    reference = text.split("under the reference ")[1][:8]
    logged = log()
    assert "exceeded quota: q" in logged
    assert "containers.max_per_host" in logged
    assert reference in logged
    assert deployment.backend.check() == []
    assert len(deployment.backend.list_workers()) == 1


def test_namespace_that_is_missing_is_named(cluster: Cluster, port: int) -> None:
    backend = make_backend(cluster, "nowhere", port, INSTANCE)
    (problem,) = backend.check()
    assert 'namespaces "nowhere" not found' in problem.message
    assert "kubernetes.namespace" in problem.advice
    with pytest.raises(StartFailed, match="nowhere"):
        backend.start(make_spec())
    backend.close()


def test_credentials_that_expire_are_an_error_until_there_are_new_ones(
    cluster: Cluster, namespace: str, port: int
) -> None:
    kubeconfig = cluster.credentials("brief", organisation="system:masters", seconds=3.0)
    backend = make_backend(
        cluster,
        namespace,
        port,
        INSTANCE,
        kubeconfig=kubeconfig,
        api={"circuit": Circuit(first=0.1, longest=0.2)},
    )
    assert backend.list_workers() == []
    time.sleep(4)
    with pytest.raises(BackendUnreachable, match="does not accept this proxy's credentials"):
        backend.list_workers()
    cluster.credentials("brief", organisation="system:masters")
    wait_until(lambda: _lists(backend))
    backend.close()


def test_list_that_grew_old_half_way_is_begun_again(
    backend: KubernetesBackend, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_PAGE", 1)
    handles = {backend.start(make_spec()).id for _ in range(3)}
    real, tokens = backend._api.get, iter(["stale"])

    def get(path: str, **query: Any) -> dict[str, Any]:
        if "continue" in query and next(tokens, ""):
            raise api_module.ApiError(410, "Expired", "The provided continue parameter is too old")
        return real(path, **query)

    monkeypatch.setattr(backend._api, "get", get)
    assert {handle.id for handle in backend.list_workers()} == handles
    for handle in backend.list_workers():
        backend.stop(handle)


def test_clock_that_differs_from_the_servers_makes_no_pod_old(
    backend: KubernetesBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr("pondflight.workers.kubernetes.api.time.time", lambda: real() + 3600)
    handle = backend.start(make_spec())
    assert abs(handle.created - (real() + 3600)) < 30
    assert backend.find(handle.name) == handle
    backend.stop(handle)


# -- pods and nodes ---------------------------------------------------------------------------


def test_evicted_pod_is_replaced_and_its_user_told(
    deploy: MakeDeployment, admin: KubernetesApi
) -> None:
    deployment = deploy(health_interval=0.3, sweep_interval=0.5)
    client = deployment.client("ann")
    client.rows("SELECT 1")
    (first,) = deployment.backend.list_workers()
    name = first.id.partition(":")[0]
    admin.create(
        admin.path("pods", f"{name}/eviction"),
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}},
    )
    wait_until(lambda: deployment.backend.exit_of(first) is not None)
    wait_until(lambda: _answers(deployment, "ann"), 30)
    (second,) = deployment.backend.list_workers()
    assert second.id != first.id


@pytest.mark.timeout(240)
def test_lost_node_costs_its_users_their_workers_and_no_more(
    deploy: MakeDeployment, cluster: Cluster, namespace: str, node: Node
) -> None:
    deployment = deploy(health_interval=0.5, sweep_interval=2.0)
    assert deployment.client("ann").rows("SELECT 1") == [(1,)]
    (first,) = deployment.backend.list_workers()
    node.silent = True
    node.stand_ins.kill(first.id.partition(":")[0])
    other = Node(cluster, namespace, f"{node.name}-2")
    try:
        wait_until(lambda: _answers(deployment, "ann"), 90)
        (second,) = deployment.backend.list_workers()
        assert second.id != first.id
    finally:
        other.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient cpu.",
                    }
                ]
            },
            "Insufficient cpu",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "worker",
                        "image": "i",
                        "imageID": "",
                        "ready": False,
                        "restartCount": 0,
                        "state": {
                            "waiting": {
                                "reason": "ImagePullBackOff",
                                "message": 'Back-off pulling image "pondflight:tests"',
                            }
                        },
                    }
                ]
            },
            "ImagePullBackOff: Back-off pulling image",
        ),
    ],
)
def test_why_a_pod_does_not_run_is_said_and_nothing_is_left(
    cluster: Cluster,
    namespace: str,
    port: int,
    node: Node,
    admin: KubernetesApi,
    status: dict[str, Any],
    words: str,
) -> None:
    node.paused = True
    backend = make_backend(cluster, namespace, port, INSTANCE, start_seconds=2.0)
    spec = make_spec()

    def kubelet() -> None:
        wait_until(lambda: admin.find(admin.path("pods", spec.name)) is not None)
        admin.merge(admin.path("pods", f"{spec.name}/status"), {"status": status})

    thread = threading.Thread(target=kubelet)
    thread.start()
    with pytest.raises(StartFailed, match=words):
        backend.start(spec)
    thread.join()
    assert backend.find(spec.name) is None
    backend.close()


# -- claims -----------------------------------------------------------------------------------


def test_lease_whose_pod_is_gone_holds_nothing(
    backend: KubernetesBackend, admin: KubernetesApi
) -> None:
    first, second = spare(backend), spare(backend)
    name = NAMING.of_user(NAMING.key("ann"))
    backend.claim(first, name)
    pod, _ = first.id.split(":")
    # Whoever ended it came no further.
    admin.delete(admin.path("pods", pod), grace=0)
    wait_until(lambda: admin.find(admin.path("pods", pod)) is None)
    assert backend.claim(second, name).id == second.id
    found = backend.find(name)
    assert found is not None
    assert found.id == second.id
    for handle in backend.list_workers():
        backend.stop(handle)


def test_claim_gives_way_to_a_pod_that_was_started_for_the_user(
    backend: KubernetesBackend,
) -> None:
    warm, spec = spare(backend), make_spec("ann")
    started = backend.start(spec)
    with pytest.raises(NameTaken):
        backend.claim(warm, spec.name)
    assert backend.find(spec.name) == started
    backend.stop(warm)
    assert backend.list_workers() == [started]
    backend.stop(started)


def test_pod_that_only_looks_like_a_worker_is_left_alone(
    backend: KubernetesBackend, admin: KubernetesApi
) -> None:
    handle = backend.start(make_spec())
    pod = admin.get(admin.path("pods", handle.name))
    copy = {
        "metadata": {"name": "stranger", "labels": pod["metadata"]["labels"]},
        "spec": {k: v for k, v in pod["spec"].items() if k != "nodeName"},
    }
    copy["metadata"]["labels"]["pondflight.user"] = ""
    copy["spec"]["schedulingGates"] = [{"name": "never"}]
    admin.create(admin.path("pods"), copy)
    assert backend.list_workers() == [handle]
    assert backend.find("stranger") is None
    backend.stop(handle)
    assert admin.find(admin.path("pods", "stranger")) is not None


def test_half_started_pod_never_runs(
    backend: KubernetesBackend, admin: KubernetesApi, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that dies between creation and count leaves a pod that waits for its gate."""

    def die(*arguments: object) -> None:
        raise SystemExit

    monkeypatch.setattr(backend, "_require_room", die)
    monkeypatch.setattr(backend, "_delete", lambda _name, _uid: None)
    with pytest.raises(SystemExit):
        backend.start(make_spec())
    monkeypatch.undo()
    time.sleep(0.5)
    (left,) = backend.list_workers()
    assert left.phase is Phase.CREATED
    assert node.stand_ins.started == 0
    backend.stop(left)
    assert backend.list_workers() == []
