"""Makes the backend ``kubernetes`` from the settings."""

from __future__ import annotations

import math

from pondflight.settings import Settings
from pondflight.workers.backends.container import Layout
from pondflight.workers.kubernetes.api import Access, KubernetesApi
from pondflight.workers.kubernetes.backend import KubernetesBackend
from pondflight.workers.kubernetes.pod import Placement


def create(settings: Settings, layout: Layout, instance: str) -> KubernetesBackend:
    """Return the backend; nothing is sent to an API server yet."""
    kubernetes = settings.kubernetes
    access = Access(kubernetes.kubeconfig, kubernetes.context, kubernetes.namespace)
    return KubernetesBackend(
        KubernetesApi(access),
        layout,
        instance,
        placement_of(settings),
        start_seconds=settings.workers.start_timeout.total_seconds(),
    )


def placement_of(settings: Settings) -> Placement:
    """Return what the operator has decided about pods."""
    kubernetes, duckdb = settings.kubernetes, settings.duckdb
    return Placement(
        service_account=kubernetes.service_account,
        image_pull_policy=kubernetes.image_pull_policy,
        image_pull_secrets=kubernetes.image_pull_secrets,
        node_selector=kubernetes.node_selector,
        tolerations=kubernetes.tolerations,
        runtime_class=kubernetes.runtime_class,
        priority_class=kubernetes.priority_class,
        user_namespaces=kubernetes.user_namespaces,
        cpu_request=kubernetes.cpu_request or 0.0,
        memory_request=kubernetes.memory_request or 0,
        lost_after=math.ceil(kubernetes.lost_after.total_seconds()),
        storage_class=kubernetes.storage_class,
        storage_access=kubernetes.storage_access,
        storage_size=duckdb.storage_limit,
        scratch_limit=duckdb.scratch_limit,
        template=kubernetes.pod_template,
    )
