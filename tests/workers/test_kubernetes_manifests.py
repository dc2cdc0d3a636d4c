"""What deploy/kubernetes/ and the code say of the same things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pondflight.settings import load
from pondflight.workers.kubernetes.checks import NEEDED

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"


def documents(name: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((FOLDER / name).read_text("utf-8")) if one]


def one(name: str, kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents(name) if document["kind"] == kind]
    return found


def test_role_gives_what_the_backend_needs_and_no_more() -> None:
    given = {
        (group, resource): tuple(rule["verbs"])
        for rule in one("base/rbac.yaml", "Role")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert given == NEEDED


def test_settings_of_the_base_are_accepted() -> None:
    settings = load(FOLDER / "base/config.yaml", {})
    assert settings.workers.backend == "kubernetes"
    namespaces = {n["metadata"]["name"] for n in documents("base/namespaces.yaml")}
    assert settings.kubernetes.namespace in namespaces
    assert settings.kubernetes.priority_class in namespaces


def test_a_proxy_has_time_to_drain() -> None:
    settings = load(FOLDER / "base/config.yaml", {})
    pod = one("base/proxy.yaml", "Deployment")["spec"]["template"]["spec"]
    (proxy,) = pod["containers"]
    sleep = proxy["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = settings.server.drain_timeout.total_seconds()
    assert sleep + drain + 10 <= pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("namespace", ["pondflight", "pondflight-workers"])
def test_what_no_policy_allows_is_refused(namespace: str) -> None:
    policies = documents("base/network-policies.yaml")
    (nothing,) = [
        policy["spec"]
        for policy in policies
        if policy["metadata"] == {"name": "nothing", "namespace": namespace}
    ]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_workers_reach_no_address_but_those_that_are_named() -> None:
    (workers,) = [
        policy["spec"]
        for policy in documents("base/network-policies.yaml")
        if policy["metadata"]["name"] == "workers"
    ]
    for rule in workers["egress"]:
        assert rule["to"]
        assert not any("ipBlock" in peer for peer in rule["to"])
