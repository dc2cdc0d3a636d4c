"""``pondflight doctor`` where workers run in a cluster or a cloud, and not on this host."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from pondflight.ops.findings import Finding, failure, ok, skipped, warning
from pondflight.ops.trial import Trial, attached
from pondflight.settings import Settings
from pondflight.workers.backends.base import Backend
from pondflight.workers.factory import create_backend, engine_of
from pondflight.workers.naming import Naming, instance_of


@dataclass(frozen=True, slots=True)
class _Place:
    """The sentences for one kind of place; ``well``: what holds if its backend finds no problem.

    The others are as in ``Trial``.
    """

    name: str
    well: str
    for_servers: str
    for_files: str
    for_silence: str


_NO_FILES = "workers have no files of a host there: use a database server"
_PLACES = {
    "kubernetes": _Place(
        "a pod",
        "the API server knows this account, which has all the rights of the Role, and would take "
        "a worker's pod",
        "check that pods reach it: localhost is the pod itself, and see the NetworkPolicies",
        "mount a volume with it by kubernetes.pod_template; user 1000 has to be able to read it",
        "let pondflight reach pods: run doctor in the cluster, and see the NetworkPolicies",
    ),
    "ecs": _Place(
        "a task",
        "AWS knows these credentials; table, cluster and task definition are as they should be",
        "check that tasks reach it: see their subnets and security groups",
        _NO_FILES,
        "let pondflight reach port 8815 of the tasks' security groups",
    ),
    "fly": _Place(
        "a Machine",
        "the API accepts the token, and the app for the workers is there",
        "check that Machines reach it",
        _NO_FILES,
        "run pondflight in the same private network as the app",
    ),
}


def elsewhere(settings: Settings) -> Iterator[Finding]:
    """Yield the backend's problems, then the trial of a worker there, and of each database."""
    name = settings.workers.backend
    place = _PLACES[name]
    secret = secrets.token_hex(16)  # no proxy takes what is named with it for its own
    naming = Naming(secret, instance_of(secret, settings.workers.instance))
    with closing(create_backend(settings, secret)) as backend:
        problems = backend.check()
        for problem in problems:
            yield failure(problem.check, problem.message, problem.advice)
        if problems:
            yield skipped("workers", "they cannot start like this")
            return
        yield ok(name, place.well)
        yield from _quotas(settings, backend)
        trial = Trial(
            backend,
            engine_of(settings),
            naming,
            place.name,
            for_servers=place.for_servers,
            for_files=place.for_files,
            for_silence=place.for_silence,
            kernel=False,
        )
        yield from attached(settings, trial)


def _quotas(settings: Settings, backend: Backend) -> Iterator[Finding]:
    """Yield how many workers the quotas of a namespace have room for."""
    if settings.workers.backend != "kubernetes":
        return
    from pondflight.workers.kubernetes.backend import KubernetesBackend  # noqa: PLC0415 - slow

    assert isinstance(backend, KubernetesBackend)
    containers = settings.containers
    room = backend.room(containers.memory_limit, containers.cpu_limit)
    if room is None:
        yield skipped("quota", "this account may not list resourcequotas, which no proxy needs to")
        return
    most, wanted = containers.max_per_host, "containers.max_per_host allows"
    if room.limit:
        words = f"{room.limit} leaves room for {room.workers} workers; {wanted} {most}"
    else:
        words = f"none limits workers; {wanted} {most}"
    if room.limit and room.workers < most:
        yield warning("quota", words, "raise the ResourceQuota, or lower containers.max_per_host")
    else:
        yield ok("quota", words)
