"""What runs inside a worker's container: how it is started, and how it is spoken to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from pondflight.workers.backends.base import WorkerSpec
from pondflight.workers.connection import Connection, ControlConnection
from pondflight.workers.gizmosql import USERNAME, LoginConnection

STORAGE = "/storage"
"""Where a container has its user's own tables, if they outlive it. The image has the directory."""


NOWHERE = "/nonexistent"
"""Home of a worker. Not the scratch directory: ``~`` must not be a second name for it."""


class Engine(Protocol):
    """A kind of worker image."""

    @property
    def name(self) -> str:
        """As in the settings."""

    @property
    def port(self) -> int:
        """Where it listens, inside."""

    @property
    def knows_its_user(self) -> bool:
        """Whether it can be told whom it serves, and refuses to serve another from then on.

        Only such workers can be kept warm.
        """

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        """Arguments for the image's entry point; None for what it has by itself.

        ``scratch`` is a directory that it may write to; ``memory`` is what is left of its memory
        without what that directory may take, in bytes.
        """

    def environment(self, spec: WorkerSpec, *, scratch: str) -> dict[str, str]:
        """Environment variables."""

    def connect(self, location: str, credential: str) -> Connection:
        """A connection; nothing is sent yet."""


@dataclass(frozen=True, slots=True)
class PondflightEngine:
    """Our own image.

    ``orphan_timeout`` (seconds; 0: never): it ends by itself when no proxy has spoken to it for
    so long.
    """

    orphan_timeout: float = 0.0
    name: str = "pondflight"
    port: int = 8815
    knows_its_user: bool = True

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        """``pondflight worker``, which learns only the SHA-256 of its credential."""
        return [
            "worker",
            f"--listen=grpc://0.0.0.0:{self.port}",
            f"--credential-sha256={spec.credential_sha256}",
            f"--memory-limit={memory}",
            f"--threads={max(1, math.ceil(spec.cpu_limit))}",
            f"--scratch={scratch}",
            f"--walls={spec.walls.text()}",
            f"--orphan-timeout={self.orphan_timeout:g}s",
            *([f"--storage={STORAGE}"] if spec.storage else []),
        ]

    def environment(self, spec: WorkerSpec, *, scratch: str) -> dict[str, str]:
        """Where libraries may write."""
        return {"HOME": NOWHERE, "TMPDIR": scratch}

    def connect(self, location: str, credential: str) -> Connection:
        """With the control channel."""
        return ControlConnection(location, credential)


@dataclass(frozen=True, slots=True)
class LoginEngine:
    """GizmoSQL, or its predecessor SQLFlite: a password in the environment, and no TLS.

    ``database`` is the file name of the database, with ``{scratch}`` for the directory.
    """

    name: str
    database: str
    port: int = 31337
    knows_its_user: bool = False

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        """The image starts its server by itself."""
        return None

    def environment(self, spec: WorkerSpec, *, scratch: str) -> dict[str, str]:
        """What these images go by. They can be given a password in no other way."""
        prefix = self.name.upper()
        return {
            f"{prefix}_USERNAME": USERNAME,
            f"{prefix}_PASSWORD": spec.credential,
            "TLS_ENABLED": "0",
            "PRINT_QUERIES": "0",
            "DATABASE_BACKEND": "duckdb",
            "DATABASE_FILENAME": self.database.format(scratch=scratch),
            "HOME": scratch,
            "TMPDIR": scratch,
        }

    def connect(self, location: str, credential: str) -> Connection:
        """With a login."""
        return LoginConnection(location, credential)


GIZMOSQL = LoginEngine("gizmosql", ":memory:")

SQLFLITE = LoginEngine("sqlflite", "{scratch}/worker.duckdb")
"""SQLFlite takes every name for one of a file."""
