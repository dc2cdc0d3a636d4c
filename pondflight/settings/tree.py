"""All settings: their groups, each declared in ``sections``, and the rules between them.

Annotations carry the rest: the kind says what is accepted, ``Env`` names the environment variable.
A program that needs other settings than those loaded takes a copy (``model_copy(update=...)``).
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pondflight.settings.databases import FILE_TYPES
from pondflight.settings.declaration import Refused, Section
from pondflight.settings.sections.access import Auth, Security
from pondflight.settings.sections.ai import AI
from pondflight.settings.sections.duckdb import DuckDB, Sessions
from pondflight.settings.sections.ecs import Ecs
from pondflight.settings.sections.fly import Fly
from pondflight.settings.sections.kubernetes import Kubernetes
from pondflight.settings.sections.server import Caddy, Console, Metrics, Server, Tracing
from pondflight.settings.sections.workers import Containers, Workers

_FILES = {kind.value for kind in FILE_TYPES}
_NEEDED = {
    "ecs": ("ecs.cluster", "ecs.task_definition", "ecs.subnets", "ecs.table"),
    "fly": ("fly.app", "fly.token"),
}
"""Settings without which a backend cannot work."""


class Settings(Section):
    """All settings."""

    server: Server = Server()
    caddy: Caddy = Caddy()
    workers: Workers = Workers()
    containers: Containers = Containers()
    kubernetes: Kubernetes = Kubernetes()
    ecs: Ecs = Ecs()
    fly: Fly = Fly()
    sessions: Sessions = Sessions()
    duckdb: DuckDB = DuckDB()
    security: Security = Security()
    auth: Auth = Auth()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    ai: AI = AI()
    console: Console = Console()

    @model_validator(mode="before")
    @classmethod
    def _warm_where_that_opens_nothing(cls, data: object) -> object:
        """Without ``workers.warm``, fill in 0 if warm workers would cost more than memory.

        With database servers, it would open the walls of all workers to all of them.
        """
        if not isinstance(data, dict) or not isinstance(data.get("workers", {}), dict):
            return data
        workers, duckdb = data.get("workers", {}), data.get("duckdb", {})
        duckdb = duckdb if isinstance(duckdb, dict) else {}
        entries = duckdb.get("attached_databases", [])
        files = all(isinstance(one, dict) and one.get("type") in _FILES for one in entries)
        memory = duckdb.get("storage") != "persistent"
        process = workers.get("backend", "process") in {"process", "auto"}
        if "warm" in workers or (process and memory and files):
            return data
        return {**data, "workers": {**workers, "warm": 0}}

    @model_validator(mode="after")
    def _storage_has_a_place(self) -> Self:
        duckdb, workers = self.duckdb, self.workers
        if duckdb.storage != "persistent":
            return self
        if workers.backend == "process" and not duckdb.storage_directory:
            why = "is needed where duckdb.storage is persistent and workers.backend is process"
            raise Refused(why, key="duckdb.storage_directory")
        if workers.warm:
            why = "must be 0 where duckdb.storage is persistent: a worker starts with its storage"
            raise Refused(why, key="workers.warm")
        return self

    @model_validator(mode="after")
    def _engine_can_do_it(self) -> Self:
        engine = self.containers.engine
        if engine == "pondflight":
            return self
        if self.workers.backend == "process":
            raise Refused(f"cannot run a {engine}: use docker or kubernetes", key="workers.backend")
        if self.workers.warm:
            raise Refused(f"must be 0 with a {engine}, which serves anyone", key="workers.warm")
        if self.containers.scratch == "disk":
            raise Refused(f"must be memory with a {engine}", key="containers.scratch")
        if self.duckdb.storage == "persistent":
            raise Refused(f"must be memory with a {engine}", key="duckdb.storage")
        return self

    @model_validator(mode="after")
    def _backend_can_do_it(self) -> Self:
        backend = self.workers.backend
        for key in _NEEDED.get(backend, ()):
            section, _, name = key.partition(".")
            if not getattr(getattr(self, section), name):
                raise Refused(f"is needed where workers.backend is {backend}", key=key)
        if backend not in _NEEDED:
            return self
        if self.containers.engine != "pondflight":
            raise Refused(f"must be pondflight with the backend {backend}", key="containers.engine")
        if self.duckdb.storage == "persistent":
            raise Refused(f"must be memory with the backend {backend}", key="duckdb.storage")
        if backend == "fly" and self.workers.warm:
            why = "must be 0 with the backend fly: a Machine cannot be renamed for its user"
            raise Refused(why, key="workers.warm")
        return self

    def masked(self) -> dict[str, object]:
        """Return the effective settings as plain data in the order of the tree, secrets as ``***``.

        Durations and sizes are written as in a configuration file.
        """
        return self.model_dump(mode="json")
