"""``pondflight doctor``: checks everything that commonly keeps pondflight from working.

Each check answers in a sentence and never raises. Checks that need what an earlier one found
missing say that they were skipped.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pondflight.addresses import joined, reachable
from pondflight.engine.guards.confinement import missing_walls
from pondflight.flightsql.client import DIRECT
from pondflight.ops.elsewhere import elsewhere
from pondflight.ops.findings import Finding, failure, ok, skipped, warning
from pondflight.ops.trial import HERE, Trial, attached
from pondflight.settings import Settings
from pondflight.units import format_size
from pondflight.workers.backends.base import BackendUnreachable
from pondflight.workers.backends.process import ProcessBackend
from pondflight.workers.engines import PondflightEngine
from pondflight.workers.factory import engine_of, layout_of
from pondflight.workers.naming import Naming, instance_of

_SECONDS = 3.0
_FORWARD_PROXY = {"http_proxy", "https_proxy", "all_proxy", "grpc_proxy"}


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings, each as soon as it is known."""
    yield _secret(settings)
    yield from _ports(settings)
    yield from _forward_proxy()
    if settings.workers.backend not in {"process", "docker"}:
        yield from elsewhere(settings)
        return
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
        trial = Trial(
            backend,
            PondflightEngine(),
            _naming(),
            HERE,
            for_servers="it was reached: check user, password and database name",
            for_files="it can be read: check that it is a file of this type",
            for_silence="see its log",
        )
        yield from attached(settings, trial)


def _naming() -> Naming:
    """Return names that no proxy takes for those of its own workers."""
    secret = secrets.token_hex(16)
    return Naming(secret, instance_of(secret, "doctor"))


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
        trial = Trial(
            backend,
            engine_of(settings),
            naming,
            "a container",
            for_servers="check that containers reach it: localhost is the container itself there",
            for_files="the file is one of the Docker host, and user 1000 has to be able to read it",
            for_silence="if addresses of containers cannot be reached, set containers.publish",
        )
        yield from attached(settings, trial)
