"""Makes the backend ``ecs`` from the settings."""

from __future__ import annotations

from pondflight.settings import Settings
from pondflight.workers.backends.container import Layout
from pondflight.workers.ecs.aws import Aws
from pondflight.workers.ecs.backend import EcsBackend
from pondflight.workers.ecs.names import Names
from pondflight.workers.ecs.task import Placement


def create(settings: Settings, layout: Layout, instance: str) -> EcsBackend:
    """Return the backend; nothing is sent to AWS yet."""
    ecs = settings.ecs
    aws = Aws(ecs.region)
    return EcsBackend(
        aws,
        layout,
        Names(aws, ecs.table, instance),
        Placement(
            cluster=ecs.cluster,
            task_definition=ecs.task_definition,
            subnets=ecs.subnets,
            security_groups=ecs.security_groups,
            container=ecs.container,
            public_address=ecs.public_address,
        ),
        start_seconds=settings.workers.start_timeout.total_seconds(),
    )
