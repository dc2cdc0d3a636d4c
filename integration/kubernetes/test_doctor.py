"""``pondflight doctor`` against a cluster: what it finds well, and what is missing by its name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.deployment import PROGRAM
from integration.kubernetes.cluster import Cluster
from integration.kubernetes.node import Node
from tests.waiting import wait_until

Row = dict[str, str]
Doctor = Callable[..., dict[str, Row]]


@pytest.fixture(name="doctor")
def fixture_doctor(cluster: Cluster, namespace: str, tmp_path: Path) -> Doctor:
    def doctor(**kubernetes: str) -> dict[str, Row]:
        """What it finds, by check; ``kubernetes`` goes before the settings of that section."""
        place = {"kubeconfig": str(cluster.kubeconfig), "namespace": namespace} | kubernetes
        config: dict[str, Any] = {"workers": {"backend": "kubernetes"}, "kubernetes": place}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        done = subprocess.run(
            [*PROGRAM, "doctor", "--config", str(path), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        found = {row["check"]: row for row in json.loads(done.stdout)["checks"]}
        # No server runs on the usual ports here, or another one does: that is not in question.
        failures = {c for c, row in found.items() if row["verdict"] == "failure"}
        assert all(found[check]["advice"] for check in failures)
        return found

    return doctor


def test_all_is_well_and_a_worker_was_there(doctor: Doctor, node: Node) -> None:
    found = doctor()
    assert found["kubernetes"]["verdict"] == "ok"
    assert found["quota"]["message"] == "none limits workers; containers.max_per_host allows 100"
    assert found["worker on a pod"]["message"].startswith("ready after ")
    assert node.stand_ins.started == 1


def test_quota_with_less_room_than_the_settings_is_a_warning(
    doctor: Doctor, cluster: Cluster, namespace: str, node: Node
) -> None:
    api = cluster.api(namespace)
    hard = {"pods": "50", "limits.memory": "10Gi", "count/secrets": "1"}
    api.create(api.path("resourcequotas"), {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    wait_until(lambda: "hard" in api.get(api.path("resourcequotas", "q")).get("status", {}))
    api.close()
    found = doctor()
    assert found["quota"]["verdict"] == "warning"
    assert found["quota"]["message"] == (
        "limits.memory: 10Gi leaves room for 20 workers; containers.max_per_host allows 100"
    )
    assert found["worker on a pod"]["verdict"] == "ok"


def test_what_is_missing_is_named(doctor: Doctor, cluster: Cluster) -> None:
    rights = doctor(kubeconfig=str(cluster.credentials("nobody-at-all")))["kubernetes rights"]
    assert rights["verdict"] == "failure"
    assert "missing create pods, delete pods" in rights["message"]
    assert "rbac.yaml" in rights["advice"]
    nowhere = doctor(namespace="nowhere")
    assert nowhere["kubernetes"]["verdict"] == "failure"
    assert "kubernetes.namespace" in nowhere["kubernetes"]["advice"]
    assert nowhere["workers"]["verdict"] == "skipped"
