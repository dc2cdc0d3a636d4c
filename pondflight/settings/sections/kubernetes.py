"""Settings of the backend kubernetes."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from pondflight.settings.declaration import Accepts, Env, Section
from pondflight.settings.kinds import (
    Duration,
    File,
    Flag,
    PullPolicy,
    ShareOfCores,
    ShareOfMemory,
    VolumeAccess,
)
from pondflight.settings.pods import NodeSelector, ObjectName, PodTemplate, SecretName, Toleration


class Kubernetes(Section):
    """Pods of the backend kubernetes. Limits, image and scratch are those under containers."""

    kubeconfig: File = Field(
        default=None,
        description="Kubeconfig file with the way to the API server. Without it: the service"
        " account of the pod that pondflight runs in, else KUBECONFIG or ~/.kube/config.",
    )
    context: Annotated[str, BeforeValidator(str), Accepts("the name of a context, or none")] = (
        Field(default="", description="Context of the kubeconfig file; none: its current one.")
    )
    namespace: Annotated[ObjectName, Env("WORKER_NAMESPACE")] = Field(
        default="",
        description="Namespace of the workers; none: that of pondflight's own pod, or of the"
        " context.",
    )
    service_account: ObjectName = Field(
        default="",
        description="Service account of the workers. None of them gets its token.",
    )
    image_pull_policy: PullPolicy = Field(
        default="IfNotPresent", description="When nodes pull containers.image."
    )
    image_pull_secrets: tuple[SecretName, ...] = Field(
        default=(), description="Secrets with the credentials of the registry."
    )
    node_selector: NodeSelector = Field(
        default={}, description="Labels of the nodes that may run workers."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="Taints of nodes that may run workers nevertheless."
    )
    runtime_class: ObjectName = Field(
        default="",
        description="RuntimeClass of the workers, such as that of gVisor or Kata Containers.",
    )
    priority_class: ObjectName = Field(
        default="", description="PriorityClass of the workers. Theirs should be below the proxy's."
    )
    user_namespaces: Flag = Field(
        default=False,
        description="Run each worker in a user namespace of its own (hostUsers: false). Needs"
        " nodes that can do that; elsewhere pods do not start.",
    )
    cpu_request: ShareOfCores = Field(
        default=None, description="Cores that the scheduler reserves for a worker."
    )
    memory_request: ShareOfMemory = Field(
        default=None,
        description="Memory that the scheduler reserves for a worker. With less than the limit,"
        " a node may run out of memory, and end workers.",
    )
    lost_after: Duration = Field(
        default=timedelta(seconds=30),
        description="How long the node of a worker may be silent until the pod is given up.",
    )
    storage_class: ObjectName = Field(
        default="",
        description="StorageClass of users' volumes, where duckdb.storage is persistent; none:"
        " the default of the cluster.",
    )
    storage_access: VolumeAccess = Field(
        default="ReadWriteOncePod",
        description="Access mode of users' volumes. ReadWriteOnce if the storage driver has no"
        " ReadWriteOncePod.",
    )
    pod_template: PodTemplate = Field(default={}, description="What is added to each worker's pod.")
