"""Workers as pods: how long a new user waits, and what a sweep of ten thousand pods takes.

Runs on a node of its own beside a Docker engine of its own (``integration/pods``), so it needs
root, Debian's docker.io and what comes with it, and a Kubernetes that has been built (``python -m
integration.kubernetes.build``); elsewhere it says so and measures nothing.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import MB, Server, beside_engine, percentile, served, show
from benchmarks.docker import first_statement, ready_spares
from integration.docker.engine import IMAGE, VARIABLE, Engine
from integration.kubernetes import build
from integration.kubernetes.cluster import Cluster
from integration.kubernetes.node import create_namespace
from integration.pods.node import ADDRESS, RealNode, make_bridge
from pondflight.control import Json
from pondflight.workers.backends.container import Layout
from pondflight.workers.engines import PondflightEngine
from pondflight.workers.kubernetes import pod as pods
from pondflight.workers.kubernetes.api import KubernetesApi
from pondflight.workers.kubernetes.backend import KubernetesBackend
from pondflight.workers.kubernetes.pod import Placement
from pondflight.workers.naming import Naming
from pondflight.workers.spec import WorkerSpec

_NEW_USERS = 40
_AT_ONCE = 20
_WARM = 3
_PODS = 10_000
_SWEEPS = 5
_SECONDS = 60.0
_INSTANCE = "0123456789ab"
_NAMING = Naming("the secret of the benchmark", _INSTANCE)
_LAYOUT = Layout(IMAGE, PondflightEngine())


def main() -> None:
    if os.environ.get(VARIABLE):
        _measure(Engine.current())
    elif os.geteuid() != 0 or shutil.which("dockerd") is None or build.programs() is None:
        print("\nkubernetes: not measured (see the docstring of benchmarks/kubernetes.py)")
    else:
        beside_engine("kubernetes")


def _measure(engine: Engine) -> None:
    programs = build.programs()
    assert programs is not None
    make_bridge()
    with tempfile.TemporaryDirectory(prefix="pf-n-") as name:
        folder = Path(name)
        cluster = Cluster(programs, folder, host=ADDRESS, nodes=True)
        node = RealNode(cluster, folder / "n")
        try:
            cluster.start()
            node.start(engine)
            with contextlib.closing(cluster.api("bench")) as api:
                create_namespace(api, "bench")
                _first_statements(cluster)
                _sweep(cluster, api)
        finally:
            node.close()
            cluster.close()


def _first_statements(cluster: Cluster) -> None:
    rows = []
    with _deployment(cluster) as server:
        times = [first_statement(server, f"user{n}") for n in range(_NEW_USERS)]
        rows.append(("new user, pod included", times))
    with _deployment(cluster, WORKER_WARM=str(_WARM)) as server:
        times = []
        for number in range(_NEW_USERS):
            _wait_for_spares(server)
            times.append(first_statement(server, f"user{number}"))
        rows.append((f"new user, warm pod (workers.warm: {_WARM})", times))
    with _deployment(cluster) as server, ThreadPoolExecutor(_AT_ONCE) as executor:
        users = [f"user{number}" for number in range(_AT_ONCE)]
        times = list(executor.map(lambda user: first_statement(server, user), users))
        rows.append((f"{_AT_ONCE} new users at once", times))
    show(
        "First statement, in seconds; 0.5 cores a worker",
        ("", "p50", "p95", "slowest"),
        [
            (what, percentile(found, 0.5), percentile(found, 0.95), found[-1])
            for what, found in ((what, sorted(times)) for what, times in rows)
        ],
    )


@contextmanager
def _deployment(cluster: Cluster, **environ: str) -> Iterator[Server]:
    with served(
        f"workers: {{keep_on_exit: false}}\n"
        f"kubernetes: {{kubeconfig: {cluster.kubeconfig}, image_pull_policy: Never,"
        f" cpu_request: 0.01, memory_request: 64m}}",
        WORKER_BACKEND="kubernetes",
        WORKER_NAMESPACE="bench",
        CONTAINER_CPU_LIMIT="0.5",
        **environ,
    ) as server:
        yield server


def _wait_for_spares(server: Server) -> None:
    deadline = time.monotonic() + _SECONDS
    while ready_spares(server) < _WARM:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- a sweep ----------------------------------------------------------------------------------


def _sweep(cluster: Cluster, api: KubernetesApi) -> None:
    """Pods as workers have them; no node runs them, but the API server is told that one does."""

    def make(number: int) -> None:
        pod = api.create(api.path("pods"), _pod(number))
        api.merge(
            api.path("pods", f"{pod['metadata']['name']}/status"), {"status": _status(number)}
        )

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(make, range(_PODS)))
    before = _peak()
    backend = KubernetesBackend(cluster.api("bench"), _LAYOUT, _INSTANCE)
    times = []
    with contextlib.closing(backend):
        for _ in range(_SWEEPS):
            began = time.perf_counter()
            found = len(backend.list_workers())
            times.append(time.perf_counter() - began)
            assert found == _PODS
    show(
        f"A sweep of {_PODS:,} pods",
        ("median, s", "slowest, s", "memory more than before, at its peak, MB"),
        [(sorted(times)[_SWEEPS // 2], max(times), _peak() - before)],
    )


def _pod(number: int) -> Json:
    key = _NAMING.key(f"user{number}")
    generation = f"{number:016x}"
    spec = WorkerSpec(
        name=_NAMING.of_user(key),
        instance=_INSTANCE,
        user=key,
        generation=generation,
        credential=_NAMING.credential(generation),
        spec_hash="0123456789ab",
        memory_limit=512 << 20,
        cpu_limit=0.5,
        most=_PODS,
    )
    return pods.manifest(spec, _LAYOUT, Placement())


def _status(number: int) -> Json:
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    now = "2026-01-01T00:00:00Z"
    container = {
        "name": pods.CONTAINER,
        "image": IMAGE,
        "imageID": f"sha256:{0:064x}",
        "containerID": f"containerd://{number:064x}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": now}},
    }
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": ADDRESS,
        "startTime": now,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds
        ],
        "containerStatuses": [container],
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
