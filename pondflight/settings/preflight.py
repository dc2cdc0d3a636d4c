"""Checks this machine for what settings need, before the first worker starts.

Files are checked where they are configured (``databases``); everything else is here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pondflight import extensions
from pondflight.settings.databases import DatabaseType
from pondflight.settings.tree import Settings

_CLIENTS = {"kubernetes": "kubernetes", "ecs": "boto3"}
"""Modules of the extras that backends need."""


def problems(settings: Settings) -> list[str]:
    """Return a sentence for each missing thing. Containers bring their own."""
    if settings.workers.backend == "docker":
        return [*_forbidden_socket(settings)]
    client = _CLIENTS.get(settings.workers.backend)
    if client:
        return [*_missing_client(settings.workers.backend, client)]
    if settings.workers.backend == "fly":
        return []
    return [*_missing_extensions(settings), *_missing_directory(settings)]


def _missing_client(backend: str, module: str) -> Iterator[str]:
    if find_spec(module) is None:
        yield (
            f"workers.backend: {backend} needs the client library {module}: "
            f"pip install 'pondflight[{backend}]' (the container image has it)"
        )


def _forbidden_socket(settings: Settings) -> Iterator[str]:
    """Yield a sentence for a socket that this user may not use. A missing one may still come."""
    host = settings.containers.docker_host
    if not host.startswith("unix://"):
        return
    path = Path(host.removeprefix("unix://"))
    if path.is_socket() and not os.access(path, os.R_OK | os.W_OK):
        group = path.stat().st_gid
        yield (
            f"containers.docker_host: the Docker socket {path} may not be used by this user (id "
            f"{os.getuid()}): add the socket's group, {group} (Compose: group_add: "
            f'["{group}"]; docker run --group-add {group}; systemd: SupplementaryGroups={group})'
        )


def _missing_extensions(settings: Settings) -> Iterator[str]:
    wanted = dict.fromkeys(settings.duckdb.extensions, "duckdb.extensions")
    for entry in settings.duckdb.attached_databases:
        if entry.type is not DatabaseType.DUCKDB:
            wanted.setdefault(entry.type.value, f"duckdb.attached_databases ({entry.alias})")
    if settings.duckdb.allow_network:
        wanted.setdefault("httpfs", "duckdb.allow_network")
    for name, origin in wanted.items():
        if not extensions.is_installed(name):
            yield f"{origin}: {extensions.problem(name)}"


def _missing_directory(settings: Settings) -> Iterator[str]:
    duckdb = settings.duckdb
    if duckdb.storage != "persistent" or duckdb.storage_directory is None:
        return
    directory = Path(duckdb.storage_directory)
    if not directory.is_dir() or not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield (
            f"duckdb.storage_directory: {directory} is not a directory that this user can write to"
        )
