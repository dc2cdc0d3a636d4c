"""Reads Docker's description of a container as a worker."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pondflight.control import Json
from pondflight.workers.backends import container
from pondflight.workers.backends.base import Phase, WorkerHandle
from pondflight.workers.backends.container import Layout
from pondflight.workers.naming import user_in

_PHASES = {
    "created": Phase.CREATED,
    "running": Phase.RUNNING,
    "paused": Phase.RUNNING,
    "restarting": Phase.RUNNING,
}


def phase(status: str) -> Phase:
    """Return the phase of a worker whose container has this status; ``ENDED`` if unknown."""
    return _PHASES.get(status, Phase.ENDED)


def listed(row: Json, layout: Layout) -> WorkerHandle:
    """Return the worker in a row of Docker's list of containers."""
    networks = row.get("NetworkSettings", {}).get("Networks", {})
    ports = [port.get("PublicPort") for port in row.get("Ports") or []]
    return _handle(
        layout,
        container_id=row["Id"],
        name=row["Names"][0].lstrip("/"),
        state=row["State"],
        labels=row.get("Labels") or {},
        networks=networks,
        port=next((port for port in ports if port), None),
    )


def inspected(found: Json, layout: Layout) -> WorkerHandle:
    """Return the worker in an inspected container."""
    bindings = [
        b for bs in (found["NetworkSettings"].get("Ports") or {}).values() for b in bs or []
    ]
    return _handle(
        layout,
        container_id=found["Id"],
        name=found["Name"].lstrip("/"),
        state=found["State"]["Status"],
        labels=found["Config"].get("Labels") or {},
        networks=found["NetworkSettings"]["Networks"],
        port=int(bindings[0]["HostPort"]) if bindings else None,
    )


def _handle(
    layout: Layout,
    *,
    container_id: str,
    name: str,
    state: str,
    labels: Mapping[str, str],
    networks: Json,
    port: int | None,
) -> WorkerHandle:
    return WorkerHandle(
        id=container_id,
        name=name,
        user=user_in(name),
        generation=labels.get(container.GENERATION, ""),
        location=_location(layout, networks, port),
        spec_hash=labels.get(container.SPEC, ""),
        created=_seconds(labels.get(container.CREATED)),
        phase=phase(state),
    )


def _location(layout: Layout, networks: Json, port: int | None) -> str:
    if port is not None:
        return f"grpc://127.0.0.1:{port}"
    network: Json = networks.get(layout.network) or next(iter(networks.values()), {})
    address = network.get("IPAddress")
    if address:
        return f"grpc://{address}:{layout.engine.port}"
    address = network.get("GlobalIPv6Address")
    return f"grpc://[{address}]:{layout.engine.port}" if address else ""


def _seconds(label: str | None) -> float:
    """Return seconds since the epoch; 0 if the label was not written by this version."""
    try:
        seconds = float(label or 0.0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0
