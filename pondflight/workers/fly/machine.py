"""The Machine of a worker: everything that Fly.io is asked for, and how its answers are read."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pondflight.control import Json
from pondflight.workers.backends.base import Phase, StartFailed, WorkerExit, WorkerHandle
from pondflight.workers.backends.container import (
    CREATED,
    GENERATION,
    INSTANCE,
    SCRATCH,
    SPEC,
    Layout,
    identity,
)
from pondflight.workers.fly.api import metadata_of
from pondflight.workers.naming import user_in
from pondflight.workers.spec import WorkerSpec

NAME = "pondflight.name"
LISTEN = "fly-local-6pn"
"""The name of a Machine's own address in the private network, inside the Machine."""

_MEGABYTE = 1 << 20
_SYSTEM = 64 << 20
"""Memory that the kernel and init of a Machine take from it."""
_PHASES = {
    **dict.fromkeys(("creating", "created", "starting"), Phase.CREATED),
    **dict.fromkeys(
        ("started", "stopping", "suspending", "restarting", "updating", "replacing"), Phase.RUNNING
    ),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of CPU: the allowed numbers, and the memory (MB) allowed for each."""

    counts: tuple[int, ...]
    least: int
    most: int


KINDS = {
    "shared": Kind((1, 2, 4, 6, 8), 256, 2048),
    "performance": Kind((1, 2, 4, 6, 8, 10, 12, 14, 16), 2048, 8192),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """What the operator decides about Machines; an empty ``region``: Fly.io chooses."""

    region: str = ""
    cpu_kind: str = "shared"


def manifest(spec: WorkerSpec, layout: Layout, placement: Placement) -> Json:
    """Return the body of the call that creates a Machine; it is not launched yet."""
    guest = guest_of(spec, placement.cpu_kind)
    scratch = layout.scratch_of(spec.memory_limit)  # what is being written to the disk
    memory = min(spec.memory_limit, guest["memory_mb"] * _MEGABYTE - _SYSTEM) - scratch
    return {
        "name": spec.name,
        **({"region": placement.region} if placement.region else {}),
        "skip_launch": True,
        "skip_service_registration": True,
        "config": {
            "image": layout.image,
            "init": {"cmd": layout.engine.arguments(spec, scratch=SCRATCH, memory=memory)},
            "env": layout.engine.environment(spec, scratch=SCRATCH),
            "guest": guest,
            "metadata": labels({**identity(spec), NAME: spec.name, CREATED: f"{time.time():.3f}"}),
            "restart": {"policy": "no"},
            "auto_destroy": False,  # how a worker ended is still needed
            "services": [],
        },
    }


def labels(found: Mapping[str, str]) -> dict[str, str]:
    """Return the labels as metadata of a Machine, without dots: those are separators in filters."""
    return {_key(key): value for key, value in found.items()}


def guest_of(spec: WorkerSpec, cpu_kind: str) -> Json:
    """Return the smallest Machine with the worker's memory and cores. Raises ``StartFailed``."""
    kind = KINDS[cpu_kind]
    wanted = math.ceil(spec.memory_limit / _MEGABYTE / kind.least) * kind.least
    for count in kind.counts:
        memory = max(wanted, count * kind.least)
        if count >= spec.cpu_limit and memory <= count * kind.most:
            return {"cpu_kind": cpu_kind, "cpus": count, "memory_mb": memory}
    raise StartFailed(
        f"no {cpu_kind} Machine has {spec.cpu_limit:g} cores and {wanted} MB: lower "
        "containers.cpu_limit or memory_limit, or set fly.cpu_kind to performance",
        [],
    )


def handle_of(machine: Json, port: int) -> WorkerHandle:
    """Return the worker of a Machine.

    Raises ``LookupError``, ``TypeError``, ``ValueError`` or ``AttributeError`` if it is not one.
    """
    metadata, name = metadata_of(dict(machine)), machine["name"]
    if metadata[_key(NAME)] != name or not name.startswith(
        f"pondflight-{metadata[_key(INSTANCE)]}-"
    ):
        raise ValueError(name)
    phase = phase_of(machine)
    return WorkerHandle(
        id=machine["id"],
        name=name,
        user=user_in(name),
        generation=metadata[_key(GENERATION)],
        location=f"grpc://[{machine['private_ip']}]:{port}" if phase is Phase.RUNNING else "",
        spec_hash=metadata.get(_key(SPEC), ""),
        created=float(metadata[_key(CREATED)]),
        phase=phase,
    )


def phase_of(machine: Json) -> Phase:
    """Return the phase of a worker whose Machine is in this state; ``ENDED`` if unknown."""
    return _PHASES.get(machine.get("state", ""), Phase.ENDED)


def end_of(machine: Json) -> WorkerExit:
    """Return how the Machine ended, according to its newest exit event."""
    events = sorted(machine.get("events") or (), key=lambda one: -one.get("timestamp", 0))
    for event in events:
        request = event.get("request") or {}
        end = (request.get("MonitorEvent") or request).get("exit_event")
        if end is not None:
            return WorkerExit(end.get("exit_code", 0), bool(end.get("oom_killed")))
    return WorkerExit()


def _key(label: str) -> str:
    return label.replace(".", "_")
