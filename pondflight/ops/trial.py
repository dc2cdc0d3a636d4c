"""A worker that is started as a test, and attaches databases where it runs."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pondflight import dsn
from pondflight.engine.guards.confinement import missing_walls
from pondflight.errors import DeadlineExceeded, PondflightError
from pondflight.flightsql.status import ConnectionLost
from pondflight.ops.findings import Finding, failure, ok, skipped, warning
from pondflight.settings import FILE_TYPES, AttachedDatabase, Settings
from pondflight.workers.backends.base import (
    Backend,
    BackendError,
    StartFailed,
    WorkerHandle,
)
from pondflight.workers.connection import Connection
from pondflight.workers.engines import Engine
from pondflight.workers.naming import Naming
from pondflight.workers.provision import entry_of, files_of, walls_of
from pondflight.workers.spec import WorkerSpec

_SECONDS = 3.0
_ATTACH_SECONDS = 30.0
_POLL_SECONDS = 0.05
HERE = "this host"
_CONFINE = "let the engine's seccomp profile permit Landlock and seccomp, as that of Docker 23 does"


@dataclass(frozen=True, slots=True)
class Trial:
    """Where a worker is started to see how it goes.

    ``place``        in words
    ``for_servers``  what to do about a database server that cannot be attached there
    ``for_files``    the same for a database that is a file
    ``for_silence``  what to do if a worker runs there and does not answer
    ``kernel``       whether it is this host's, whose walls ``doctor`` has looked at already
    """

    backend: Backend
    engine: Engine
    naming: Naming
    place: str
    for_servers: str
    for_files: str
    for_silence: str
    kernel: bool = True


def attached(settings: Settings, trial: Trial) -> Iterator[Finding]:
    """Check that a worker becomes ready, and that another one can attach each database."""
    databases, place = settings.duckdb.attached_databases, trial.place
    try:
        with _worker(settings, trial) as (connection, seconds):
            yield ok(f"worker on {place}", f"ready after {seconds:.1f} s")
            missing = connection.status().missing_walls
            if set(missing) - set(missing_walls() if trial.kernel else ()):
                yield warning(f"confinement on {place}", "; ".join(missing), _CONFINE)
    except (BackendError, PondflightError) as error:
        lines = error.log if isinstance(error, StartFailed) else []
        yield failure(
            f"worker on {place}", f"does not start: {error}", " | ".join(lines) or "see above"
        )
        for database in databases:
            yield skipped(f"database {database.alias}", f"no worker on {place} to try it from")
        return
    for database in databases:
        yield _attach(settings, trial, database)


def _attach(settings: Settings, trial: Trial, database: AttachedDatabase) -> Finding:
    check, place = f"database {database.alias}", trial.place
    is_file = database.type in FILE_TYPES
    unreachable = _why_unreachable(database) if place == HERE else ""
    if unreachable:
        advice = "check the path, and who may read it" if is_file else "check address and firewalls"
        return failure(check, f"from {place}: {unreachable}", advice)
    wanted = {"databases": [entry_of(database)], "require_all": True}
    try:
        with _worker(settings, trial, database) as (connection, _):
            connection.configure(wanted, owner="", timeout=_ATTACH_SECONDS)
    except (BackendError, PondflightError):
        advice = trial.for_files if is_file else trial.for_servers
        return failure(check, f"from {place}: it cannot be attached", advice)
    return ok(check, f"from {place}: attached")


def _why_unreachable(database: AttachedDatabase) -> str:
    """Return why this host cannot reach a database, before any login; empty if it can."""
    where = database.connection_string.get_secret_value()
    if database.type in FILE_TYPES:
        path = Path(where)
        if not path.is_file():
            return "there is no such file"
        return "" if os.access(path, os.R_OK) else "the file may not be read by this user"
    try:
        addresses = dsn.parse(database.type.value, where).addresses
    except dsn.Misshapen as error:
        return f"the connection string {error}"
    reasons = [_why_silent(address) for address in addresses]
    return reasons[0] if all(reasons) else ""


def _why_silent(address: dsn.Address) -> str:
    """Return why this host cannot reach an address; empty if it can."""
    if address.is_socket:
        return ""  # the connection attempt will tell
    where = f"{address.host}:{address.port}"
    try:
        with socket.create_connection((address.host, address.port), _SECONDS):
            return ""
    except socket.gaierror:
        return f"the host name {address.host} is not known"
    except TimeoutError:
        return f"{where} does not answer within {_SECONDS:g} s"
    except OSError as error:
        return f"{where} cannot be reached ({error.strerror})"


@contextmanager
def _worker(
    settings: Settings, trial: Trial, *databases: AttachedDatabase
) -> Iterator[tuple[Connection, float]]:
    """Start a worker that belongs to nobody; yield it with the seconds it took; remove it.

    It can read the files of ``databases``.
    """
    began = time.monotonic()
    deadline = began + settings.workers.start_timeout.total_seconds()
    generation, naming = secrets.token_hex(8), trial.naming
    spec = WorkerSpec(
        name=naming.of_spare(generation),
        instance=naming.instance,
        user="",
        generation=generation,
        credential=naming.credential(generation),
        spec_hash="doctor",
        memory_limit=settings.containers.memory_limit,
        cpu_limit=settings.containers.cpu_limit,
        most=1,
        files=files_of(databases),
        walls=walls_of(settings, databases),
    )
    handle = trial.backend.start(spec)
    try:
        with closing(_ready(trial, handle, spec.credential, deadline)) as connection:
            yield connection, time.monotonic() - began
    finally:
        trial.backend.stop(handle)


def _ready(trial: Trial, handle: WorkerHandle, credential: str, deadline: float) -> Connection:
    """Return a connection to a worker as soon as it answers. Raises ``StartFailed`` otherwise."""
    _raise_if_ended(trial, handle)
    if not handle.location:
        raise StartFailed("it has no address in its network", [])
    connection = trial.engine.connect(handle.location, credential)
    try:
        while True:
            try:
                connection.ping(timeout=max(0.1, deadline - time.monotonic()))
            except (ConnectionLost, DeadlineExceeded):
                _raise_if_ended(trial, handle)
                if time.monotonic() > deadline:
                    raise StartFailed(
                        "it was started and goes on running, but does not answer from here; "
                        f"{trial.for_silence}",
                        trial.backend.logs(handle),
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


def _raise_if_ended(trial: Trial, handle: WorkerHandle) -> None:
    end = trial.backend.exit_of(handle)
    if end is not None:
        memory = ": out of memory (containers.memory_limit)" if end.out_of_memory else ""
        why = f"it ended with exit code {end.code}{memory}"
        raise StartFailed(why, trial.backend.logs(handle))
