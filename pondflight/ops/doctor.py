"""``pondflight doctor``: checks everything that commonly keeps pondflight from working.

Each check answers in a sentence and never raises. Checks that need what an earlier one found
missing say that they were skipped.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pondflight import dsn
from pondflight.addresses import joined, reachable
from pondflight.engine.guards.confinement import missing_walls
from pondflight.errors import DeadlineExceeded, PondflightError
from pondflight.flightsql.client import DIRECT
from pondflight.flightsql.status import ConnectionLost
from pondflight.ops.findings import Finding, failure, ok, skipped, warning
from pondflight.settings import FILE_TYPES, AttachedDatabase, Settings
from pondflight.units import format_size
from pondflight.workers.backends.base import (
    Backend,
    BackendError,
    BackendUnreachable,
    StartFailed,
    WorkerHandle,
)
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.connection import Connection
from pondflight.workers.engines import Engine, PondflightEngine
from pondflight.workers.factory import engine_of, layout_of
from pondflight.workers.naming import Naming, instance_of
from pondflight.workers.provision import entry_of, files_of, walls_of
from pondflight.workers.spec import WorkerSpec

_SECONDS = 3.0
_ATTACH_SECONDS = 30.0
_POLL_SECONDS = 0.05
_CONFINE = "let the engine's seccomp profile permit Landlock and seccomp, as that of Docker 23 does"
_FORWARD_PROXY = {"http_proxy", "https_proxy", "all_proxy", "grpc_proxy"}


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings, each as soon as it is known."""
    yield _secret(settings)
    yield from _ports(settings)
    yield from _forward_proxy()
    yield _memory(settings)
    yield _confinement(settings)
    yield from _from_the_host(settings)
    if settings.workers.backend == "docker":
        yield from _docker(settings)


def _secret(settings: Settings) -> Finding:
    if settings.security.jwt_secret is None:
        return warning(
            "JWT_SECRET",
            "not set: with a configuration, or with containers, serve does not start without it",
            'export JWT_SECRET="$(openssl rand -base64 32)", or set JWT_SECRET_FILE',
        )
    return ok("JWT_SECRET", "set, and hard to guess")


# -- this host --------------------------------------------------------------------------------


def _ports(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    host = reachable(server.host)
    asks: tuple[tuple[str, int, Callable[[str, int], bool]], ...] = (
        ("HTTP", server.port, _answers_http),
        ("Flight SQL", server.grpc_port, lambda h, _: _answers_health(h, server.health_port)),
        ("gRPC health", server.health_port, _answers_health),
    )
    for name, port, is_ours in asks:
        check = f"port {port}"
        if not _listens(host, port):
            why = _why_not_bound(server.host, port)
            if why:
                yield failure(
                    check,
                    f"nothing answers there, but {name} cannot listen there either: {why}",
                    "choose another port (PORT, GRPC_PORT, HEALTH_PORT) or address (server.host)",
                )
            else:
                yield ok(check, f"free for {name}; pondflight does not run here now")
        elif is_ours(host, port):
            yield ok(check, f"pondflight answers there ({name})")
        else:
            yield failure(
                check,
                f"{name} is to listen there, but another program does, or pondflight is not ready",
                "stop that program, or choose another port (PORT, GRPC_PORT, HEALTH_PORT)",
            )


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), _SECONDS):
            return True
    except OSError:
        return False


def _why_not_bound(host: str, port: int) -> str:
    """Return why this user cannot listen there; empty if nothing prevents it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return ""
    except OSError as error:
        return error.strerror or "it is not an address"


def _answers_http(host: str, port: int) -> bool:
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{joined(host, port)}/health", timeout=_SECONDS) as answer:
            return bool(json.load(answer).get("status"))
    except (OSError, ValueError, AttributeError, urllib.error.URLError):
        return False


def _answers_health(host: str, port: int) -> bool:
    try:
        with grpc.insecure_channel(joined(host, port), [DIRECT]) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    except grpc.RpcError:
        return False


def _forward_proxy() -> Iterator[Finding]:
    """Find variables that name a forward proxy; their values may contain a password."""
    names = sorted(name for name in os.environ if name.lower() in _FORWARD_PROXY)
    if names:
        yield ok(
            "forward proxy",
            f"{', '.join(names)}: used for AI providers and JWKS alone, never between clients, "
            "pondflight, workers and the Docker engine",
        )


def _memory(settings: Settings) -> Finding:
    limit, most = settings.containers.memory_limit, settings.containers.max_per_host
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) << 10
    except (OSError, StopIteration):
        return skipped("memory", "this system does not say how much is free")
    room = available // limit
    message = (
        f"{available >> 20} MB are free: room for {room} workers of {format_size(limit)} that use "
        f"all they may (containers.max_per_host allows {most})"
    )
    if room == 0:
        return failure("memory", message, "free some, or lower containers.memory_limit")
    if room < most:
        return warning("memory", message, "lower containers.max_per_host or memory_limit")
    return ok("memory", message)


def _confinement(settings: Settings) -> Finding:
    """Find which walls this host can put around workers. A container may have fewer."""
    mode, check = settings.workers.confinement, "confinement"
    if mode == "off" or not settings.duckdb.sandbox:
        key = "workers.confinement" if mode == "off" else "duckdb.sandbox"
        return warning(check, f"off ({key}): only SQL keeps users from this host", f"set {key}")
    missing = "; ".join(missing_walls())
    if not missing:
        return ok(check, f"files, network, system calls and memory of workers are walled ({mode})")
    if mode == "required":
        return failure(check, missing, "use a newer kernel, or workers.confinement: best_effort")
    return warning(check, missing, "use a newer kernel, or the backend docker")


# -- databases --------------------------------------------------------------------------------


def _from_the_host(settings: Settings) -> Iterator[Finding]:
    """Check a worker that runs as a process of this machine, and each database from there."""
    if not settings.duckdb.attached_databases:
        yield skipped("databases", "none is configured (duckdb.attached_databases)")
        if settings.workers.backend != "process":
            return
    with closing(ProcessBackend()) as backend:
        trial = Trial(backend, PondflightEngine(), _naming(), "this host")
        yield from _attached(settings, trial)


@dataclass(frozen=True, slots=True)
class Trial:
    """Where a worker is started as a test; ``place`` in words."""

    backend: Backend
    engine: Engine
    naming: Naming
    place: str


def _naming() -> Naming:
    """Return names that no proxy takes for those of its own workers."""
    secret = secrets.token_hex(16)
    return Naming(secret, instance_of(secret, "doctor"))


def _attached(settings: Settings, trial: Trial) -> Iterator[Finding]:
    """Check that a worker becomes ready, and that another one can attach each database."""
    databases, place = settings.duckdb.attached_databases, trial.place
    try:
        with _worker(settings, trial) as (connection, seconds):
            yield ok(f"worker on {place}", f"ready after {seconds:.1f} s")
            missing = connection.status().missing_walls
            if set(missing) - set(missing_walls()):  # what the kernel lacks was reported before
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
    on_host = place == "this host"
    unreachable = _why_unreachable(database) if on_host else ""
    if unreachable:
        is_file = database.type in FILE_TYPES
        advice = "check the path, and who may read it" if is_file else "check address and firewalls"
        return failure(check, f"from {place}: {unreachable}", advice)
    wanted = {"databases": [entry_of(database)], "require_all": True}
    try:
        with _worker(settings, trial, database) as (connection, _):
            connection.configure(wanted, owner="", timeout=_ATTACH_SECONDS)
    except (BackendError, PondflightError):
        if on_host:
            advice = "it was reached: check user, password and database name, or that it is a file "
            advice += "of this type"
        elif database.type in FILE_TYPES:
            advice = "the file is one of the Docker host, and user 1000 has to be able to read it"
        else:
            advice = "check that containers reach it: localhost is the container itself there"
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


# -- Docker -----------------------------------------------------------------------------------


def _docker(settings: Settings) -> Iterator[Finding]:
    from pondflight.workers.backends.docker import DockerBackend  # noqa: PLC0415 - slow to import
    from pondflight.workers.backends.docker_api import DockerApi  # noqa: PLC0415

    api = DockerApi(settings.containers.docker_host)
    naming = _naming()
    with closing(DockerBackend(api, layout_of(settings), naming.instance)) as backend:
        try:
            version = api.call(lambda client: client.version())
        except BackendUnreachable as error:
            yield failure(
                "docker",
                str(error),
                "start Docker, and let this user use its socket (containers.docker_host)",
            )
            yield skipped("image, network, workers", "Docker does not answer")
            return
        yield ok("docker", f"Docker {version['Version']} answers at {api.host}")
        problems = {problem.check: problem for problem in backend.check()}
        containers = settings.containers
        for check, name in (("image", containers.image), ("network", containers.network)):
            problem = problems.get(check)
            if problem is None:
                yield ok(check, f"{name} is there")
            else:
                yield failure(check, problem.message, problem.advice)
        if problems:
            yield skipped("workers", "they cannot start like this")
            return
        trial = Trial(backend, engine_of(settings), naming, "a container")
        yield from _attached(settings, trial)


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
        raise StartFailed("it has no address in its network (containers.network)", [])
    connection = trial.engine.connect(handle.location, credential)
    try:
        while True:
            try:
                connection.ping(timeout=max(0.1, deadline - time.monotonic()))
            except (ConnectionLost, DeadlineExceeded):
                _raise_if_ended(trial, handle)
                if time.monotonic() > deadline:
                    raise StartFailed(
                        "it was started and goes on running, but does not answer from here; if "
                        "addresses of containers cannot be reached, set containers.publish",
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
