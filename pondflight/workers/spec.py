"""The pool's request to a backend for a worker."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

from pondflight.control import NO_WALLS, Walls


@dataclass(frozen=True, slots=True)
class BoundFile:
    """A file of the host that a worker sees under the same path."""

    path: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What the pool asks for.

    ``name``         unique for instance and user: the lock between two proxies
    ``instance``     deployment that the worker belongs to
    ``user``         hash of the token's ``sub``; empty for a warm worker
    ``generation``   random; the credential follows from it
    ``credential``   what opens the worker
    ``spec_hash``    hash of the settings that it is started with
    ``memory_limit`` bytes
    ``cpu_limit``    cores, fractions allowed
    ``most``         workers of the instance that there may be, with this one
    ``storage``      name of the storage that outlives it, 64 hexadecimal digits; empty: none
    ``files``        files of the host that it may open
    ``walls``        what else it may reach
    """

    name: str
    instance: str
    user: str
    generation: str
    credential: str = field(repr=False)
    spec_hash: str
    memory_limit: int
    cpu_limit: float
    most: int
    storage: str = ""
    files: tuple[BoundFile, ...] = ()
    walls: Walls = NO_WALLS

    @property
    def credential_sha256(self) -> str:
        """Return the SHA-256 of the credential, which is all that a worker of ours learns of it."""
        return hashlib.sha256(self.credential.encode()).hexdigest()

    def arguments(
        self,
        scratch: Path | str,
        *,
        storage: Path | str | None = None,
        walls: Walls | None = None,
        memory: int | None = None,
    ) -> list[str]:
        """Return the command line of ``pondflight worker``, without where it listens.

        ``scratch`` and ``storage`` are directories as the worker sees them. ``memory`` (bytes) is
        less than the limit if something else counts against it.
        """
        return [
            "worker",
            f"--credential-sha256={self.credential_sha256}",
            f"--memory-limit={self.memory_limit if memory is None else memory}",
            f"--threads={max(1, math.ceil(self.cpu_limit))}",
            f"--scratch={scratch}",
            *([f"--storage={storage}"] if storage else []),
            f"--walls={(walls or self.walls).text()}",
        ]
