"""What settings need of this machine: found to be missing before the first worker starts.

Files are looked for where they are configured (``databases``); here is the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pondflight import extensions
from pondflight.settings.databases import DatabaseType
from pondflight.settings.tree import Settings


def problems(settings: Settings) -> list[str]:
    """One sentence for each thing that is missing. Containers bring their own."""
    if settings.workers.backend != "process":
        return []
    return [*_missing_extensions(settings), *_missing_directory(settings)]


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
