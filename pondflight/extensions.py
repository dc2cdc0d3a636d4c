"""DuckDB's extensions: which are built in, and which come from wheels.

Nothing is ever downloaded at run time. A missing extension is reported before the first worker
starts.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

BUILT_IN = frozenset({"arrow", "json", "parquet", "icu", "core_functions", "autocomplete"})
"""Extensions that need no loading: DuckDB contains them, or pyarrow does their work."""

WHEELS = {
    "httpfs": "httpfs",
    "mysql": "mysql_scanner",
    "postgres": "postgres_scanner",
    "sqlite": "sqlite_scanner",
}
"""The extension's own name for each name that a configuration may contain."""


def wheel(name: str) -> str:
    """Return pip's requirement for the extension, for the installed version of DuckDB."""
    return f"duckdb-extension-{WHEELS[name].replace('_', '-')}=={version('duckdb')}"


def is_installed(name: str) -> bool:
    """Return whether the extension can be loaded by the installed version of DuckDB."""
    if name in BUILT_IN:
        return True
    return find_spec(f"duckdb_extension_{WHEELS[name]}") is not None and path(name).is_file()


def path(name: str) -> Path:
    """Return the path of the extension's file.

    Raises ``ModuleNotFoundError`` if its wheel is not installed.
    """
    own = WHEELS[name]
    folder = files(f"duckdb_extension_{own}")
    return Path(str(folder / "extensions" / f"v{version('duckdb')}" / f"{own}.duckdb_extension"))


def problem(name: str) -> str:
    """Return what to tell whoever configured an extension that is not installed."""
    return f"the extension {name} is not installed: pip install {wheel(name)}"
