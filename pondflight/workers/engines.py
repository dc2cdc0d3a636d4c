"""What runs inside a worker's container: how it is started, and how to talk to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pondflight.workers.connection import Connection, ControlConnection
from pondflight.workers.gizmosql import USERNAME, LoginConnection
from pondflight.workers.spec import WorkerSpec

STORAGE = "/storage"
"""Where a container has its user's own tables, if they outlive it. The image has the directory."""


NOWHERE = "/nonexistent"
"""Home of a worker. Not the scratch directory: ``~`` must not be a second name for it."""


class Engine(Protocol):
    """A kind of worker image: how to start it and how to connect to it."""

    @property
    def name(self) -> str:
        """Return the engine's name in ``containers.engine``."""

    @property
    def port(self) -> int:
        """Return the port that it listens on inside the container."""

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        """Return arguments for the image's entry point; None for the image's own.

        ``scratch`` is a directory that it may write to; ``memory`` is its memory in bytes, without
        what that directory may take.
        """

    def environment(self, spec: WorkerSpec, *, scratch: str) -> dict[str, str]:
        """Return the container's environment variables."""

    def connect(self, location: str, credential: str) -> Connection:
        """Return a connection to the worker at ``location``. Nothing is sent yet."""


@dataclass(frozen=True, slots=True)
class PondflightEngine:
    """Our own image.

    ``orphan_timeout`` (seconds; 0: never): it ends if no proxy has called for that long. ``host``
    is the address that it listens on.
    """

    orphan_timeout: float = 0.0
    name: str = "pondflight"
    port: int = 8815
    host: str = "0.0.0.0"  # noqa: S104  its container's own

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        """Return the arguments of ``pondflight worker``.

        It gets only the SHA-256 of the credential.
        """
        return [
            *spec.arguments(scratch, storage=STORAGE if spec.storage else None, memory=memory),
            f"--listen=grpc://{self.host}:{self.port}",
            f"--orphan-timeout={self.orphan_timeout:g}s",
        ]

    def environment(self, spec: WorkerSpec, *, scratch: str) -> dict[str, str]:
        """Return the directories that libraries may write to."""
        return {"HOME": NOWHERE, "TMPDIR": scratch}

    def connect(self, location: str, credential: str) -> Connection:
        """Return a connection that uses the control channel."""
        return ControlConnection(location, credential)


@dataclass(frozen=True, slots=True)
class LoginEngine:
    """GizmoSQL, or its predecessor SQLFlite: a password in the environment, and no TLS.

    ``database`` is the file name of the database, with ``{scratch}`` for the directory.
    """

    name: str
    database: str
    port: int = 31337

    def arguments(self, spec: WorkerSpec, *, scratch: str, memory: int) -> list[str] | None:
        """Return None: the image's entry point starts the server without arguments."""
        return None

    def environment(self, spec: WorkerSpec, *, scratch: str) -> dict[str, str]:
        """Return the image's settings. It takes the password only from the environment."""
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
        """Return a connection that logs in with user name and password."""
        return LoginConnection(location, credential)


GIZMOSQL = LoginEngine("gizmosql", ":memory:")

SQLFLITE = LoginEngine("sqlflite", "{scratch}/worker.duckdb")
"""SQLFlite takes every name for the name of a file."""
