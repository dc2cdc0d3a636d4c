"""Checks for what would prevent pods from starting: rights, namespace, admission."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity

from pondflight.control import Json
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


@dataclass(frozen=True, slots=True)
class Room:
    """How many workers the quotas of the namespace allow, and which limit decides; empty: none."""

    workers: int = 0
    limit: str = ""


def room(
    api: KubernetesApi, layout: Layout, placement: Placement, memory: int, cpu: float
) -> Room | None:
    """Return the room for workers of ``memory`` bytes and ``cpu`` cores, whatever runs now.

    None if the quotas may not be read. Those of some pods only (scopes) are left aside.
    """
    pod = pods.manifest(_specimen("quota", memory, cpu), layout, placement)
    try:
        quotas = api.get(api.path("resourcequotas"))["items"]
    except (ApiError, BackendUnreachable):
        return None
    resources = pod["spec"]["containers"][0]["resources"]
    needs = {"pods": "1", "count/pods": "1"}
    for kind in ("requests", "limits"):
        needs |= {f"{kind}.{name}": value for name, value in resources[kind].items()}
    needs |= resources["requests"]  # a plain "cpu" is that of the requests
    found = [
        Room(int(_number(hard) // _number(needs[name])), f"{name}: {hard}")
        for quota in quotas
        if not {"scopes", "scopeSelector"} & quota["spec"].keys()
        for name, hard in quota["spec"].get("hard", {}).items()
        if name in needs
    ]
    return min(found, key=lambda one: one.workers, default=Room())


def _number(quantity: str) -> Decimal:
    """Return the number for which ``100m`` or ``56Gi`` stands."""
    return Decimal(parse_quantity(quantity))  # type: ignore[no-untyped-call]


def _specimen(instance: str, memory: int = 64 << 20, cpu: float = 0.1) -> WorkerSpec:
    generation = "0" * 16
    return WorkerSpec(
        name=f"pondflight-{instance}-spare-{generation}",
        instance=instance,
        user="",
        generation=generation,
        credential="none",
        spec_hash="",
        memory_limit=memory,
        cpu_limit=cpu,
        most=1,
    )


def _missing(api: KubernetesApi) -> Iterator[str]:
    """Yield the rights that the API server does not grant to this proxy, such as "create pods".

    One call lists the rules. Not every authorizer can list all of them, so a right that they do
    not cover is asked for by itself.
    """
    review = api.create(
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": api.namespace},
        },
    )
    rules = review["status"].get("resourceRules") or []
    for (group, resource), verbs in NEEDED.items():
        for verb in verbs:
            covered = any(_covers(rule, group, resource, verb) for rule in rules)
            if not covered and not _permitted(api, group, resource, verb):
                yield f"{verb} {resource}"


def _permitted(api: KubernetesApi, group: str, resource: str, verb: str) -> bool:
    kind, _, part = resource.partition("/")
    wanted = {
        "namespace": api.namespace,
        "verb": verb,
        "group": group,
        "resource": kind,
        "subresource": part,
    }
    review = api.create(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        },
    )
    return bool(review["status"].get("allowed"))


def _covers(rule: Json, group: str, resource: str, verb: str) -> bool:
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
