"""DuckDB's extensions: which are built in, and which come from wheels beside it.

Nothing is ever downloaded when something runs. An extension that is not installed is found before
the first worker starts.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

BUILT_IN = frozenset({"arrow", "json", "parquet", "icu", "core_functions", "autocomplete"})
"""Those that need no loading: DuckDB brings them, or pyarrow does their work."""

WHEELS = {
    "httpfs": "httpfs",
    "mysql": "mysql_scanner",
    "postgres": "postgres_scanner",
    "sqlite": "sqlite_scanner",
}
"""For each name that a configuration may have, the extension's own name."""


def wheel(name: str) -> str:
    """What pip installs the extension from, with the version of DuckDB that is installed."""
    return f"duckdb-extension-{WHEELS[name].replace('_', '-')}=={version('duckdb')}"


def is_installed(name: str) -> bool:
    """Whether the extension can be loaded, for the version of DuckDB that is installed."""
    if name in BUILT_IN:
        return True
    return find_spec(f"duckdb_extension_{WHEELS[name]}") is not None and path(name).is_file()


def path(name: str) -> Path:
    """The extension's file. Raises ``ModuleNotFoundError`` if its wheel is not installed."""
    own = WHEELS[name]
    folder = files(f"duckdb_extension_{own}")
    return Path(str(folder / "extensions" / f"v{version('duckdb')}" / f"{own}.duckdb_extension"))


def problem(name: str) -> str:
    """What to tell whoever configured an extension that is not installed."""
    return f"the extension {name} is not installed: pip install {wheel(name)}"
