"""Makes a pool from the settings: backend, engine, and what workers start with."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from pondflight.limits.headroom import Headroom
from pondflight.settings import Settings
from pondflight.workers.backends.base import Backend
from pondflight.workers.backends.container import Layout
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.engines import GIZMOSQL, SQLFLITE, Engine, PondflightEngine
from pondflight.workers.naming import instance_of
from pondflight.workers.policy import PoolSettings
from pondflight.workers.provision import Provision

_CONCURRENT_STARTS = {"kubernetes": 32, "ecs": 16, "fly": 3}
"""Where other machines do the work, more starts at a time do no harm to this one.

An app of Fly.io may have about one creation a second.
"""
_ELSEWHERE = frozenset({"kubeconfig", "context", "namespace", "app", "token", "url", "table"})
"""Settings that say where workers run, not how."""
_SHORTEST_ORPHAN_SECONDS = 600.0


def create_backend(settings: Settings, secret: str, headroom: Headroom | None = None) -> Backend:
    """Return the backend that the settings name."""
    if settings.workers.backend == "process":
        directory = settings.duckdb.storage_directory
        return ProcessBackend(Path(directory) if directory else None, headroom)
    layout, instance = layout_of(settings), instance_of(secret, settings.workers.instance)
    # Imported here, since these clients take long to import.
    match settings.workers.backend:
        case "kubernetes":
            from pondflight.workers.kubernetes import factory as kubernetes  # noqa: PLC0415

            return kubernetes.create(settings, layout, instance)
        case "ecs":
            from pondflight.workers.ecs import factory as ecs  # noqa: PLC0415

            return ecs.create(settings, layout, instance)
        case "fly":
            from pondflight.workers.fly import factory as fly  # noqa: PLC0415

            return fly.create(settings, layout, instance)
    from pondflight.workers.backends.docker import DockerBackend  # noqa: PLC0415
    from pondflight.workers.backends.docker_api import DockerApi  # noqa: PLC0415

    return DockerBackend(DockerApi(settings.containers.docker_host), layout, instance)


def pool_settings(settings: Settings, secret: str) -> PoolSettings:
    """Return the settings that the pool needs."""
    workers, containers = settings.workers, settings.containers
    provision = Provision(settings)
    return PoolSettings(
        instance=instance_of(secret, workers.instance),
        secret=secret,
        shape=provision.shape,
        idle_timeout=containers.idle_timeout.total_seconds(),
        max_workers=containers.max_per_host,
        configuration=provision.configuration,
        access=provision.access,
        preparation=provision.preparation(),
        engine=engine_of(settings),
        spec_hash=spec_hash(settings, secret),
        start_timeout=workers.start_timeout.total_seconds(),
        max_lifetime=containers.max_lifetime.total_seconds(),
        queue_size=workers.queue_size,
        queue_timeout=workers.queue_timeout.total_seconds(),
        concurrent_starts=_CONCURRENT_STARTS.get(workers.backend, 6),
        warm=workers.warm,
        keep_workers=workers.keep_on_exit,
    )


def layout_of(settings: Settings) -> Layout:
    """Return what all worker containers have in common."""
    containers = settings.containers
    return Layout(
        image=containers.image,
        engine=engine_of(settings),
        network=containers.network,
        publish=containers.publish,
        pids_limit=containers.pids_limit,
        scratch_size=containers.scratch_size,
        scratch_on_disk=containers.scratch == "disk",
        deployment=settings.workers.instance,
    )


def engine_of(settings: Settings) -> Engine:
    """Return the engine that runs in the worker image."""
    match settings.containers.engine:
        case "gizmosql":
            return GIZMOSQL
        case "sqlflite":
            return SQLFLITE
    idle = settings.containers.idle_timeout.total_seconds()
    return PondflightEngine(orphan_timeout=max(_SHORTEST_ORPHAN_SECONDS, 2 * idle))


def spec_hash(settings: Settings, secret: str) -> str:
    """Return a hash of all settings that a worker is started with.

    It is keyed, since connection strings are among them, and others can read the hash.
    """
    containers = settings.containers.model_dump(mode="json")
    for name in ("idle_timeout", "max_lifetime", "max_per_host", "docker_host"):
        del containers[name]
    demo = settings.auth.demo.model_dump(mode="json", include={"memory_limit", "cpu_limit"})
    duckdb = settings.duckdb.model_dump(mode="json")
    for entry, database in zip(
        duckdb["attached_databases"], settings.duckdb.attached_databases, strict=True
    ):
        entry["connection_string"] = database.connection_string.get_secret_value()
    if settings.duckdb.init_sql is not None:
        duckdb["init_sql"] = settings.duckdb.init_sql.get_secret_value()
    section = getattr(settings, settings.workers.backend, None)
    parts = [section.model_dump(mode="json", exclude=_ELSEWHERE)] if section else []
    data = json.dumps([containers, *parts, demo, duckdb, settings.sessions.model_dump(mode="json")])
    return hmac.new(secret.encode(), data.encode(), hashlib.sha256).hexdigest()[:12]
