"""Warns of settings that are accepted, but probably not what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pondflight.settings.databases import DatabaseType
from pondflight.settings.tree import Settings
from pondflight.units import format_size

BASE_MEMORY: Final = 96 << 20
"""Bytes that a worker needs to start and to answer small statements."""

SERVER_MEMORY: Final = 16 << 20
"""Additional bytes for each attached PostgreSQL or MySQL, for connections and threads."""


def warnings(settings: Settings) -> list[str]:
    """Return a sentence for each doubt."""
    return [*_anybodys_tokens(settings), *_little_memory(settings)]


def _anybodys_tokens(settings: Settings) -> Iterator[str]:
    auth = settings.auth
    source = "jwks_url" if auth.jwks_url else "public_key" if auth.public_key else ""
    missing = [
        f"auth.{key}"
        for key, value in (("issuer", auth.issuer), ("audience", auth.audience))
        if not value
    ]
    if source and missing:
        yield (
            f"auth.{source} is set without {' and '.join(missing)}: every token that is signed "
            "with these keys is accepted, also those made for other applications"
        )


def _little_memory(settings: Settings) -> Iterator[str]:
    servers = sum(
        entry.type in {DatabaseType.POSTGRES, DatabaseType.MYSQL}
        for entry in settings.duckdb.attached_databases
    )
    needed = BASE_MEMORY + servers * SERVER_MEMORY
    limits = {"containers.memory_limit": settings.containers.memory_limit}
    if settings.auth.demo.enabled:
        limits["auth.demo.memory_limit"] = settings.auth.demo.memory_limit
    for key, limit in limits.items():
        if limit < needed:
            yield (
                f"{key} is {format_size(limit)}: a worker with these databases needs about "
                f"{format_size(needed)} to start"
            )
