"""Loading extensions from their wheels."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from pondflight import extensions
from pondflight.engine.duck import literal
from pondflight.errors import ConfigError


def load(database: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Load those that are not built in, and from then on only what DuckDB's makers have signed.

    Verifying a signature takes 120 ms of SHA-256 for each of our files, which pip has verified
    already. DuckDB allows unsigned extensions until a process gives that up, for good. Raises
    ``ConfigError`` if a wheel is not installed.
    """
    wanted = sorted(set(names) - extensions.BUILT_IN)
    missing = [name for name in wanted if not extensions.is_installed(name)]
    if missing:
        raise ConfigError([extensions.problem(name) for name in missing])
    with database.cursor() as cursor:
        for name in wanted:
            cursor.execute(f"LOAD {literal(str(extensions.path(name)))}")
        cursor.execute("SET GLOBAL allow_unsigned_extensions = false")
