"""Checks for what would prevent pods from starting: rights, namespace, admission."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pondflight.workers.backends.base import BackendUnreachable, Problem
from pondflight.workers.backends.container import Layout
from pondflight.workers.kubernetes import pod as pods
from pondflight.workers.kubernetes.api import ApiError, KubernetesApi
from pondflight.workers.kubernetes.pod import Placement
from pondflight.workers.spec import WorkerSpec

NEEDED = {
    ("", "pods"): ("create", "delete", "get", "list", "patch", "watch"),
    ("", "pods/log"): ("get",),
    ("", "persistentvolumeclaims"): ("create", "get"),
    ("", "secrets"): ("create",),
    ("coordination.k8s.io", "leases"): ("create", "delete", "get", "update"),
}
"""The verbs that the backend uses, of each resource."""

_ROLE = "give the proxy's service account the Role of deploy/kubernetes/base/rbac.yaml"
_QUOTA = "exceeded quota"


def check(api: KubernetesApi, layout: Layout, placement: Placement, instance: str) -> list[Problem]:
    """Return what is wrong; nothing if a pod passes a dry run with all admission."""
    try:
        missing = list(_missing(api))
        if missing:
            return [Problem("kubernetes rights", f"RBAC: missing {', '.join(missing)}", _ROLE)]
        trial = pods.manifest(_specimen(instance), layout, placement)
        try:
            api.create(api.path("pods"), trial, dryRun="All")
        except ApiError as error:
            if _QUOTA in error.message:  # full is not broken: some will end
                return []
            return [Problem("kubernetes", error.message, _advice(error.message))]
    except (ApiError, BackendUnreachable) as error:
        return [
            Problem(
                "kubernetes",
                str(error),
                "let pondflight reach the API server (kubernetes.kubeconfig, or a service account)",
            )
        ]
    return []


def _specimen(instance: str) -> WorkerSpec:
    generation = "0" * 16
    return WorkerSpec(
        name=f"pondflight-{instance}-spare-{generation}",
        instance=instance,
        user="",
        generation=generation,
        credential="none",
        spec_hash="",
        memory_limit=64 << 20,
        cpu_limit=0.1,
        most=1,
    )


def _missing(api: KubernetesApi) -> Iterator[str]:
    """Yield the rights that the API server does not grant to this proxy, such as "create pods"."""
    review = api.create(
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": api.namespace},
        },
    )
    status = review["status"]
    if status.get("incomplete"):  # an authorizer that cannot list its rules
        return
    rules = status.get("resourceRules") or []
    for (group, resource), verbs in NEEDED.items():
        for verb in verbs:
            if not any(_covers(rule, group, resource, verb) for rule in rules):
                yield f"{verb} {resource}"


def _covers(rule: Mapping[str, Any], group: str, resource: str, verb: str) -> bool:
    if rule.get("resourceNames"):
        return False
    return all(
        {wanted, "*"} & set(rule.get(key) or ())
        for key, wanted in (("apiGroups", group), ("resources", resource), ("verbs", verb))
    )


def _advice(message: str) -> str:
    if "violates PodSecurity" in message:
        return "see kubernetes.pod_template, and the pod-security labels of the namespace"
    if re.search(r"namespaces? .* not found", message):
        return "create the namespace, or name another one (kubernetes.namespace)"
    return "see the settings under kubernetes in docs/configuration.md"
