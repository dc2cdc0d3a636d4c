"""The pod of a worker: everything that Kubernetes is asked for, in one place.

It follows the standard "restricted", and goes beyond it, since a worker runs what its user sends.
It has no identity in the cluster, no capability and no way to gain one, no writable disk except a
small one of fixed size, and fixed shares of memory and processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pondflight.control import Json
from pondflight.workers.backends.base import Phase, WorkerHandle
from pondflight.workers.backends.container import (
    GENERATION,
    INSTANCE,
    MANAGED,
    SCRATCH,
    SPEC,
    USER,
    Layout,
    identity,
)
from pondflight.workers.engines import STORAGE
from pondflight.workers.kubernetes.template import merged
from pondflight.workers.naming import user_in
from pondflight.workers.spec import WorkerSpec

CREDENTIAL = "pondflight.credential-sha256"
GATE = "pondflight.room"
"""A pod is not scheduled before it is certain that there is room for it."""
CONTAINER = "worker"
FIELD_OWNER = "pondflight"

_ID = 1000
_GRACE_SECONDS = 5
_LOGS = 256 << 20
_STORAGE_OVERHEAD = 1.25
"""What a file system, and a database that is being rewritten, need beyond the data."""
_LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SECRET_KEY = "credential"  # noqa: S105  its name
Pod = Mapping[str, Any]
"""A pod, or a part of one, as the API server has it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What an operator decides over pods of workers; empty: what the cluster does by itself.

    ``cpu_request``, ``memory_request``  cores and bytes; 0: as much as the limit
    ``lost_after``      seconds until a pod is given up whose node does not answer
    ``storage_size``    bytes of a user's volume
    ``scratch_limit``   bytes of a scratch directory on the disk
    ``template``        merged into each pod (``template.merged``)
    """

    service_account: str = ""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    runtime_class: str = ""
    priority_class: str = ""
    user_namespaces: bool = False
    cpu_request: float = 0.0
    memory_request: int = 0
    lost_after: int = 30
    storage_class: str = ""
    storage_access: str = "ReadWriteOncePod"
    storage_size: int = 1 << 30
    scratch_limit: int = 10 << 30
    template: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mounted(self) -> list[str]:
        """Return where the template mounts volumes in the worker."""
        containers = self.template.get("spec", {}).get("containers", [])
        return [mount["mountPath"] for one in containers for mount in one.get("volumeMounts", [])]


def selector(instance: str, user: str | None = None) -> str:
    """Return the label selector for a deployment's workers, or for those of one user."""
    found = f"{INSTANCE}={instance}"
    return found if user is None else f"{found},{USER}={user}"


def manifest(spec: WorkerSpec, layout: Layout, placement: Placement) -> Json:
    """Return the pod of a worker, gated: it waits until ``GATE`` is removed."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.name,
            "labels": {
                "app.kubernetes.io/name": "pondflight",
                "app.kubernetes.io/component": "worker",
                **identity(spec),
            },
            "annotations": {CREDENTIAL: spec.credential_sha256},
        },
        "spec": {
            "schedulingGates": [{"name": GATE}],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostUsers": False if placement.user_namespaces else None,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _ID,
                "runAsGroup": _ID,
                "fsGroup": _ID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "serviceAccountName": placement.service_account or None,
            "imagePullSecrets": [{"name": name} for name in placement.image_pull_secrets],
            "nodeSelector": dict(placement.node_selector),
            "tolerations": _tolerations(placement),
            "runtimeClassName": placement.runtime_class or None,
            "priorityClassName": placement.priority_class or None,
            "containers": [_container(spec, layout, placement)],
            "volumes": _volumes(spec, layout, placement),
        },
    }
    pod["spec"] = {key: value for key, value in pod["spec"].items() if value not in (None, [], {})}  # type: ignore[attr-defined]
    return merged(pod, placement.template)


def secret(spec: WorkerSpec, pod: Pod) -> Json:
    """Return the secret with a worker's credential, for engines that need it; the pod owns it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "immutable": True,
        "metadata": {
            "name": f"{spec.name}-{spec.generation}",
            "labels": {MANAGED: "true", INSTANCE: spec.instance},
            "ownerReferences": [owner(pod)],
        },
        "stringData": {_SECRET_KEY: spec.credential},
    }


def needs_secret(spec: WorkerSpec, layout: Layout) -> bool:
    """Return whether the worker gets its credential itself, rather than the hash of it."""
    environment = layout.engine.environment(spec, scratch=SCRATCH)
    return spec.credential in environment.values()


def owner(pod: Pod) -> Json:
    """Return a reference to the pod: what has it is deleted with the pod."""
    metadata = pod["metadata"]
    return {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}


def volume_claim(spec: WorkerSpec, layout: Layout, placement: Placement) -> Json:
    """Return the claim of the volume with a user's own tables; it outlives all workers."""
    claim: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(spec, layout),
            "labels": {MANAGED: "true", "pondflight.storage": layout.deployment or spec.instance},
        },
        "spec": {
            "accessModes": [placement.storage_access],
            "resources": {
                "requests": {"storage": str(round(placement.storage_size * _STORAGE_OVERHEAD))}
            },
        },
    }
    if placement.storage_class:
        claim["spec"]["storageClassName"] = placement.storage_class
    return claim


def claim_name(spec: WorkerSpec, layout: Layout) -> str:
    """Return the name of that claim.

    The name of a deployment outlives a change of JWT_SECRET. It is hashed, since Kubernetes does
    not allow all its characters in a name.
    """
    name = layout.deployment
    owner = f"n{hashlib.sha256(name.encode()).hexdigest()[:12]}" if name else spec.instance
    return f"pondflight-{owner}-{spec.storage}"


def handle_of(pod: Pod, port: int, skew: float = 0.0) -> WorkerHandle:
    """Return the worker of a pod; ``skew`` is how far this host's clock is ahead, in seconds.

    Raises ``LookupError``, ``TypeError``, ``ValueError`` or ``AttributeError`` if it is not one.
    """
    metadata = pod["metadata"]
    labels = metadata["labels"]
    name, user = metadata["name"], labels[USER]
    if user and not user_in(name):  # a warm pod that has been claimed
        name = f"pondflight-{labels[INSTANCE]}-{user}"
    phase = phase_of(pod)
    address = pod.get("status", {}).get("podIP", "") if phase is Phase.RUNNING else ""
    host = f"[{address}]" if ":" in address else address
    return WorkerHandle(
        id=f"{metadata['name']}:{metadata['uid']}",
        name=name,
        user=user_in(name),
        generation=labels[GENERATION],
        location=f"grpc://{host}:{port}" if host else "",
        spec_hash=labels.get(SPEC, ""),
        created=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp() + skew,
        phase=phase,
    )


def pod_and_uid(handle: WorkerHandle) -> tuple[str, str]:
    """Return the name and the uid of a worker's pod."""
    name, _, uid = handle.id.partition(":")
    return name, uid


def phase_of(pod: Pod) -> Phase:
    """Return the pod's phase; a pod that is being deleted has ended, whatever it still does."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") in {"Failed", "Succeeded"}:
        return Phase.ENDED
    if status.get("phase") == "Running" and status.get("podIP"):
        return Phase.ENDED if terminated(pod) else Phase.RUNNING
    return Phase.CREATED


def terminated(pod: Pod) -> Pod:
    """Return how the worker's container ended; empty while it has not."""
    found: Pod = _state(pod).get("terminated") or {}
    return found


def stuck(pod: Pod) -> tuple[str, bool]:
    """Return why the pod does not run, and whether waiting is useless; an empty text: not known."""
    waiting = _state(pod).get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason and reason not in {"ContainerCreating", "PodInitializing"}:
        words = " ".join(f"{reason}: {waiting.get('message', '')}".split())
        return words.removesuffix(":"), reason != "ErrImagePull"
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return f"Unschedulable: {condition.get('message', '')}", False
    return "", False


def _state(pod: Pod) -> Pod:
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status["name"] == CONTAINER:
            found: Pod = status.get("state") or {}
            return found
    return {}


def _container(spec: WorkerSpec, layout: Layout, placement: Placement) -> Json:
    scratch = layout.scratch_of(spec.memory_limit)
    arguments = layout.engine.arguments(spec, scratch=SCRATCH, memory=spec.memory_limit - scratch)
    disk = _LOGS + (placement.scratch_limit if layout.scratch_on_disk else 0)
    return {
        "name": CONTAINER,
        "image": layout.image,
        "imagePullPolicy": placement.image_pull_policy,
        **({"args": arguments} if arguments is not None else {}),
        "env": [
            _variable(spec, name, value)
            for name, value in layout.engine.environment(spec, scratch=SCRATCH).items()
        ],
        "ports": [{"name": "flight", "containerPort": layout.engine.port}],
        "resources": {
            "requests": {
                "cpu": _cores(min(placement.cpu_request or spec.cpu_limit, spec.cpu_limit)),
                "memory": str(
                    min(placement.memory_request or spec.memory_limit, spec.memory_limit)
                ),
                "ephemeral-storage": str(min(disk, _LOGS)),
            },
            "limits": {
                "cpu": _cores(spec.cpu_limit),
                "memory": str(spec.memory_limit),
                "ephemeral-storage": str(disk),
            },
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            *([{"name": "storage", "mountPath": STORAGE}] if spec.storage else []),
        ],
    }


def _variable(spec: WorkerSpec, name: str, value: str) -> Json:
    if value != spec.credential:
        return {"name": name, "value": value}
    source = {"name": f"{spec.name}-{spec.generation}", "key": _SECRET_KEY}
    return {"name": name, "valueFrom": {"secretKeyRef": source}}


def _volumes(spec: WorkerSpec, layout: Layout, placement: Placement) -> list[Json]:
    if layout.scratch_on_disk:
        scratch: Json = {"sizeLimit": str(placement.scratch_limit)}
    else:
        scratch = {"medium": "Memory", "sizeLimit": str(layout.scratch_of(spec.memory_limit))}
    volumes: list[Json] = [{"name": "scratch", "emptyDir": scratch}]
    if spec.storage:
        source = {"claimName": claim_name(spec, layout)}
        volumes.append({"name": "storage", "persistentVolumeClaim": source})
    return volumes


def _tolerations(placement: Placement) -> list[Json]:
    """Return the operator's tolerations, and those that give up a lost node sooner."""
    lost = [
        {
            "key": key,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": placement.lost_after,
        }
        for key in _LOST
    ]
    return [*(dict(one) for one in placement.tolerations), *lost]


def _cores(cores: float) -> str:
    return f"{max(1, round(cores * 1000))}m"
