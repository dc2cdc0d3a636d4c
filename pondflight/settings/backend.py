"""Which backend ``workers.backend: auto`` means here, and which settings that backend ignores.

Whoever gives pondflight a Docker engine, or a setting that only containers have, expects a
container for each user. Subprocesses under one account would isolate users less than expected, so
they are never chosen in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pondflight.settings.schema import ROOT

AUTO: Final = "auto"

ONLY_CONTAINERS: Final = frozenset(
    {"engine", "image", "network", "publish", "pids_limit", "scratch", "scratch_size"}
)
"""Keys of ``containers`` without effect on the backend process."""

_ONLY_DOCKER: Final = frozenset({"network", "publish", "pids_limit", "docker_host"})

IGNORED: Final = {
    "process": ONLY_CONTAINERS,
    "docker": frozenset[str](),
    "kubernetes": _ONLY_DOCKER,
    "ecs": _ONLY_DOCKER | {"image", "scratch"},
    "fly": _ONLY_DOCKER | {"scratch"},
}
"""Keys of ``containers`` without effect, by backend."""

SECTIONS: Final = ("kubernetes", "ecs", "fly")
"""Backends with a section of settings that only they read."""

_SOCKET = Path("/var/run/docker.sock")
_SIGNS_OF_A_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"))


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend, and why it was chosen; ``why`` ends a sentence."""

    backend: str
    why: str


def choose(values: Mapping[str, object], *, signed: bool) -> Choice:
    """Return the backend for ``values``: the configured settings, without defaults.

    ``signed``: there is a configuration file or a JWT secret. Without either, this is the
    demonstration, which does not use a Docker socket that happens to exist.
    """
    for key in _changed_section(values, "kubernetes"):
        return Choice("kubernetes", f"{key} is set")
    for key in _changed(values, ONLY_CONTAINERS):
        return Choice("docker", f"containers.{key} is set")
    if signed and any(sign.exists() for sign in _SIGNS_OF_A_CONTAINER):
        if _changed(values, {"docker_host"}):
            return Choice("docker", "a container was given containers.docker_host (DOCKER_HOST)")
        if _SOCKET.is_socket():
            return Choice("docker", f"{_SOCKET} is mounted into this container")
    return Choice("process", "nothing asks for containers")


def without_effect(values: Mapping[str, object], backend: str) -> list[str]:
    """Return the configured settings (dotted) that ``backend`` ignores."""
    ignored = [f"containers.{key}" for key in _changed(values, IGNORED[backend])]
    for section in SECTIONS:
        if section != backend:
            ignored += _changed_section(values, section)
    duckdb = values.get("duckdb")
    in_containers = backend != "process"
    if in_containers and isinstance(duckdb, Mapping) and duckdb.get("storage_directory"):
        ignored.append("duckdb.storage_directory")
    return ignored


def _changed_section(values: Mapping[str, object], name: str) -> list[str]:
    """Return the keys (dotted) of a top-level section whose value is not the default."""
    given = values.get(name)
    if not isinstance(given, Mapping):
        return []
    section = ROOT.find((name,))
    return [
        f"{name}.{key}"
        for key, value in given.items()
        if key in section.children and value != section.children[key].default
    ]


def _changed(values: Mapping[str, object], keys: Iterable[str]) -> list[str]:
    """Return those ``keys`` of ``containers`` whose value is not the default."""
    given = values.get("containers")
    if not isinstance(given, Mapping):
        return []
    defaults = {key: ROOT.find(("containers", key)).default for key in sorted(keys)}
    return [key for key, default in defaults.items() if given.get(key, default) != default]
