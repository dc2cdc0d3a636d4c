"""The task of a worker: everything that ECS is asked for, and how its answers are read."""

from __future__ import annotations

from dataclasses import dataclass

from pondflight.control import Json
from pondflight.workers.backends.base import Phase, StartFailed, WorkerExit
from pondflight.workers.backends.container import SCRATCH, Layout, identity
from pondflight.workers.spec import WorkerSpec

_MEGABYTE = 1 << 20
_PHASES = {
    "PROVISIONING": Phase.CREATED,
    "PENDING": Phase.CREATED,
    "ACTIVATING": Phase.CREATED,
    "RUNNING": Phase.RUNNING,
}
_SIZES: dict[int, tuple[int, ...] | range] = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
    16384: range(32768, 122880 + 1, 8192),
}
"""CPU units (1024 are a core), and the memory sizes (MB) that Fargate allows for them."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What the operator decides about tasks. ``container``: its name in the task definition."""

    cluster: str
    task_definition: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...] = ()
    container: str = "worker"
    public_address: bool = False


def request(spec: WorkerSpec, layout: Layout, placement: Placement) -> Json:
    """Return the arguments of ``RunTask``; sent twice, it runs one task."""
    cpu, memory = size_of(spec)
    scratch = layout.scratch_of(spec.memory_limit)  # what is being written to the disk
    command = layout.engine.arguments(spec, scratch=SCRATCH, memory=spec.memory_limit - scratch)
    environment = layout.engine.environment(spec, scratch=SCRATCH)
    return {
        "cluster": placement.cluster,
        "taskDefinition": placement.task_definition,
        "launchType": "FARGATE",
        "count": 1,
        "clientToken": spec.generation,
        "startedBy": spec.generation,
        "enableExecuteCommand": False,
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(placement.subnets),
                "securityGroups": list(placement.security_groups),
                "assignPublicIp": "ENABLED" if placement.public_address else "DISABLED",
            }
        },
        "overrides": {
            "cpu": str(cpu),
            "memory": str(memory),
            "containerOverrides": [
                {
                    "name": placement.container,
                    "command": command,
                    "environment": [{"name": k, "value": v} for k, v in environment.items()],
                }
            ],
        },
        "tags": [{"key": key, "value": value} for key, value in identity(spec).items()],
    }


def size_of(spec: WorkerSpec) -> tuple[int, int]:
    """Return the smallest of Fargate's sizes that fits, in CPU units and megabytes."""
    for cpu, memories in _SIZES.items():
        for memory in memories:
            if cpu >= spec.cpu_limit * 1024 and memory * _MEGABYTE >= spec.memory_limit:
                return cpu, memory
    raise StartFailed(
        f"no task of Fargate has {spec.cpu_limit:g} cores and {spec.memory_limit // _MEGABYTE} MB: "
        "lower containers.cpu_limit or memory_limit",
        [],
    )


def phase_of(task: Json) -> Phase:
    """The phase of a worker whose task has this status; ``ENDED`` once it is to stop."""
    if task.get("desiredStatus") == "STOPPED":
        return Phase.ENDED
    return _PHASES.get(task["lastStatus"], Phase.ENDED)


def address_of(task: Json) -> str:
    """Return the task's private IPv4 address; empty if it has none yet."""
    for attachment in task.get("attachments", ()):
        for detail in attachment.get("details", ()):
            if detail["name"] == "privateIPv4Address":
                return str(detail["value"])
    return ""


def end_of(task: Json, container: str) -> WorkerExit:
    """Return how the task's container ended."""
    for found in task.get("containers", ()):
        if found["name"] == container:
            reason = found.get("reason", "")
            return WorkerExit(found.get("exitCode"), reason.startswith("OutOfMemory"))
    return WorkerExit()
