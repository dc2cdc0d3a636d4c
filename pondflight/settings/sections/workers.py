"""Settings of the workers: what runs them, how many, and within which limits."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from pondflight import __version__
from pondflight.settings.declaration import Env, Refused, Section
from pondflight.settings.kinds import (
    Backend,
    Confinement,
    Cores,
    Count,
    CountOrNone,
    DockerHost,
    Duration,
    Engine,
    Flag,
    Image,
    Instance,
    Memory,
    Network,
    Patience,
    Processes,
    Readable,
    Scratch,
)

OUR_IMAGE = f"pondflight:{__version__}"


class Workers(Section):
    """What runs a user's DuckDB, and how many."""

    backend: Annotated[Backend, Env("WORKER_BACKEND")] = Field(
        default="auto",
        description="How workers run: process (a subprocess of the proxy), docker (a "
        "container), kubernetes (a pod), ecs (a task of AWS Fargate; experimental), fly (a Fly.io "
        "Machine; experimental) or auto. auto means kubernetes if a setting under kubernetes is "
        "given; docker if one is given that applies only to containers (such as "
        "containers.network), or if pondflight itself runs in a container that was given a "
        "Docker engine (its socket, or DOCKER_HOST); otherwise process. The log says which was "
        "chosen, and why.",
    )
    warm: Annotated[CountOrNone, Env("WORKER_WARM")] = Field(
        default=1,
        description="Workers to keep started for new users, so that a user's first statement is "
        "as fast as the next ones. They count towards containers.max_per_host. If it is not set, "
        "it is 0 with all backends but process, where duckdb.storage is persistent, and where "
        "database servers are attached.",
    )
    start_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long a worker may take to become ready; then its start has failed.",
    )
    queue_size: CountOrNone = Field(
        default=100,
        description="Users who may wait for a worker when containers.max_per_host are busy.",
    )
    queue_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long a user may wait for a worker before the call fails.",
    )
    confinement: Confinement = Field(
        default="best_effort",
        description="Operating-system restrictions on each worker, while duckdb.sandbox is on: "
        "required (no worker starts unless all are available), best_effort (those that are "
        "available) or off.",
    )
    readable: tuple[Readable, ...] = Field(
        default=(),
        description="Files and folders that duckdb.init_sql reads, apart from database files.",
    )
    keep_on_exit: Flag = Field(
        default=True,
        description="Leave workers running when the proxy ends. The next proxy adopts them with "
        "everything users have in them; if none comes, they end by themselves after a while. If "
        "false, workers end with the last proxy that uses them. Workers of the backend process "
        "always end.",
    )
    instance: Annotated[Instance, Env("WORKER_INSTANCE")] = Field(
        default="",
        description="Name of the deployment. Set it if several deployments with the same "
        "JWT_SECRET use one Docker engine but must not share workers.",
    )


class Containers(Section):
    """Limits and surroundings of each worker, for every backend."""

    engine: Annotated[Engine, Env("CONTAINER_ENGINE")] = Field(
        default="pondflight",
        description="What the image runs: our own worker, GizmoSQL or SQLFlite.",
    )
    image: Annotated[Image, Env("CONTAINER_IMAGE")] = Field(
        default=OUR_IMAGE,
        description="Image of a worker. Unused by the backend process.",
    )
    idle_timeout: Annotated[Duration, Env("CONTAINER_IDLE_TIMEOUT", bare_unit="ms")] = Field(
        default=timedelta(minutes=5),
        description="A worker stops after this long without a statement.",
    )
    max_lifetime: Patience = Field(
        default=timedelta(),
        description="A worker older than this stops as soon as it is idle, however recently it was "
        "used.",
    )
    memory_limit: Annotated[Memory, Env("CONTAINER_MEMORY_LIMIT")] = Field(
        default=512 << 20, description="Memory limit of a worker."
    )
    cpu_limit: Annotated[Cores, Env("CONTAINER_CPU_LIMIT")] = Field(
        default=0.5, description="CPU limit of a worker, in cores."
    )
    scratch: Scratch = Field(
        default="memory",
        description="Where a worker's scratch directory is: memory (a part of memory_limit) or "
        "disk (a volume on the Docker host that is removed with the container; "
        "duckdb.scratch_limit limits what is spilled there). Unused by the backend process, which "
        "always uses the disk.",
    )
    scratch_size: Memory = Field(
        default=64 << 20,
        description="Part of memory_limit reserved for the scratch directory, or for data on its "
        "way to the disk; at most a quarter of memory_limit. Unused by the backend process.",
    )
    pids_limit: Processes = Field(
        default=512,
        description="Maximum number of processes and threads of a worker. Unused by the backend "
        "process.",
    )
    max_per_host: Annotated[Count, Env("CONTAINER_MAX_PER_HOST")] = Field(
        default=100, description="Maximum number of workers that run at once."
    )
    network: Annotated[Network, Env("CONTAINER_NETWORK")] = Field(
        default="bridge",
        description="Network of the workers. If there is none of that name, it is created without "
        "traffic between containers. Unused by the backend process.",
    )
    publish: Flag = Field(
        default=False,
        description="Reach each worker through a free port on 127.0.0.1, for hosts that cannot "
        "reach the addresses of containers, such as Docker Desktop. Unused by the backend process.",
    )
    docker_host: Annotated[DockerHost, Env("DOCKER_HOST")] = Field(
        default="unix:///var/run/docker.sock",
        description="Address of the Docker engine. DOCKER_TLS_VERIFY and DOCKER_CERT_PATH are "
        "respected. Unused by the backend process.",
    )

    @model_validator(mode="before")
    @classmethod
    def _engine_follows_image(cls, data: object) -> object:
        """Fill in the engine, if it is not set, from an engine's name in the name of the image."""
        if isinstance(data, dict) and "engine" not in data:
            image = str(data.get("image", "")).lower()
            for engine in ("gizmosql", "sqlflite"):
                if engine in image:
                    return {**data, "engine": engine}
        return data

    @model_validator(mode="after")
    def _image_suits_engine(self) -> Self:
        if self.engine != "pondflight" and self.image == OUR_IMAGE:
            raise Refused(f"is no image of {self.engine}: name one", key="image")
        return self
