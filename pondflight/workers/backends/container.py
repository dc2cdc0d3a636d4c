"""The container of a worker: everything that Docker is asked for, in one place.

A worker runs what its user sends. It gets no capability and no way to gain one, no writable disk
except a small one in its own memory (unless the operator wants it elsewhere), and fixed shares of
memory, processor and processes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pondflight.control import Json
from pondflight.workers.engines import STORAGE, Engine
from pondflight.workers.spec import WorkerSpec

MANAGED = "pondflight.managed"
INSTANCE = "pondflight.instance"
USER = "pondflight.user"
GENERATION = "pondflight.generation"
SPEC = "pondflight.spec"
CREATED = "pondflight.created"

SCRATCH = "/scratch"
_USER = 1000
_FILES = 4096
_SHARED_MEMORY = 16 << 20
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Layout:
    """What all containers of a deployment have in common; sizes in bytes.

    ``publish``: they are reached by a free port of 127.0.0.1, not by an address of their own.
    ``deployment``: the name that the operator has chosen, if any; users' volumes are named after
    it.
    """

    image: str
    engine: Engine
    network: str = "bridge"
    publish: bool = False
    pids_limit: int = 512
    scratch_size: int = 64 << 20
    scratch_on_disk: bool = False
    deployment: str = ""

    def scratch_of(self, memory_limit: int) -> int:
        """Return how much of its memory the scratch directory may take; most of it is left.

        It also applies on the disk: what is being written there is in memory first.
        """
        return min(self.scratch_size, memory_limit // 4)


def identity(spec: WorkerSpec) -> dict[str, str]:
    """Return whose worker it is, as labels or tags; the user of a warm worker is empty."""
    return {
        MANAGED: "true",
        INSTANCE: spec.instance,
        USER: spec.user,
        GENERATION: spec.generation,
        SPEC: spec.spec_hash,
    }


def configuration(spec: WorkerSpec, layout: Layout) -> Json:
    """Return the body of Docker's "create a container" call."""
    scratch = layout.scratch_of(spec.memory_limit)
    port = f"{layout.engine.port}/tcp"
    config: dict[str, object] = {
        "Image": layout.image,
        "User": f"{_USER}:{_USER}",
        "Env": [
            f"{name}={value}"
            for name, value in layout.engine.environment(spec, scratch=SCRATCH).items()
        ],
        # Labels never change. Whose worker it is follows from its name, which can change.
        "Labels": {**identity(spec), CREATED: f"{time.time():.3f}"},
        "ExposedPorts": {port: {}},
        "Healthcheck": {"Test": ["NONE"]},  # the pool checks it
        "AttachStdin": False,
        "OpenStdin": False,
        "HostConfig": {
            # nothing to gain
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Privileged": False,
            "ReadonlyRootfs": True,
            "IpcMode": "private",
            "Tmpfs": {} if layout.scratch_on_disk else {SCRATCH: _tmpfs(scratch)},
            "Mounts": _mounts(spec, layout),
            "ShmSize": min(_SHARED_MEMORY, scratch),
            # limits
            "Memory": spec.memory_limit,
            "MemorySwap": spec.memory_limit,  # memory and swap together, so no swap
            "NanoCpus": round(spec.cpu_limit * _NANO),
            "PidsLimit": layout.pids_limit,
            "Ulimits": [
                {"Name": "nofile", "Soft": _FILES, "Hard": _FILES},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "OomScoreAdj": 500,  # the host kills workers first
            # life
            "Init": True,
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,  # the log of a worker that died is still needed
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
            # network
            "NetworkMode": layout.network,
            "PublishAllPorts": False,
            "PortBindings": (
                {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]} if layout.publish else {}
            ),
        },
    }
    arguments = layout.engine.arguments(spec, scratch=SCRATCH, memory=spec.memory_limit - scratch)
    if arguments is not None:
        config["Cmd"] = arguments
    return config


def _tmpfs(size: int) -> str:
    # Podman accepts no owner here, and nobody else is in the container.
    return f"rw,noexec,nosuid,nodev,size={size},mode=1777"


def _mounts(spec: WorkerSpec, layout: Layout) -> list[dict[str, object]]:
    mounts: list[dict[str, object]] = [
        {"Type": "bind", "Source": file.path, "Target": file.path, "ReadOnly": file.read_only}
        for file in spec.files
    ]
    if layout.scratch_on_disk:
        # Without a name, it is removed with the container. The image has the directory, and its
        # owner.
        mounts.append({"Type": "volume", "Target": SCRATCH})
    if spec.storage:
        # The name outlives a change of JWT_SECRET; no instance's id has a dot.
        owner = f"{layout.deployment}." if layout.deployment else spec.instance
        volume = f"pondflight-{owner}-{spec.storage}"
        labels = {MANAGED: "true", INSTANCE: layout.deployment or spec.instance}
        mounts.append(
            {
                "Type": "volume",
                "Source": volume,
                "Target": STORAGE,
                "VolumeOptions": {"Labels": labels},
            }
        )
    return mounts
