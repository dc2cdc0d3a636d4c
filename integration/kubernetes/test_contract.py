from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.kubernetes.cluster import Cluster
from integration.kubernetes.conftest import make_backend
from integration.kubernetes.node import Node
from pondflight.workers.backends.base import Backend, WorkerHandle
from tests.ports import free_ports
from tests.workers.contract import INSTANCE, BackendContract


class TestKubernetes(BackendContract):
    @pytest.fixture(autouse=True)
    def fixture_cluster_of_the_tests(
        self, cluster: Cluster, namespace: str, node: Node, port: int
    ) -> None:
        self.cluster, self.namespace, self.node, self.port = cluster, namespace, node, port

    @pytest.fixture(name="backend")
    def fixture_backend(self, fixture_cluster_of_the_tests: None) -> Iterator[Backend]:
        backend = self.another()
        yield backend
        backend.close()

    def kill(self, handle: WorkerHandle) -> None:
        self.node.stand_ins.kill(handle.id.partition(":")[0])

    def speak(self, handle: WorkerHandle, line: str) -> None:
        self.node.stand_ins.speak(handle.id.partition(":")[0], line)

    def another(self, instance: str = INSTANCE) -> Backend:
        return make_backend(self.cluster, self.namespace, self.port, instance)

    def unreachable(self) -> Backend:
        nowhere = self.cluster.credentials("nobody")
        address = f"https://127.0.0.1:{free_ports(1)[0]}"
        nowhere.write_text(nowhere.read_text().replace(self.cluster.url, address))
        return make_backend(self.cluster, self.namespace, self.port, INSTANCE, kubeconfig=nowhere)
