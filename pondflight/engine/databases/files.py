"""Databases that are files: SQLite's and DuckDB's own.

Users can see the path of whatever is attached. For SQLite that is the name of a link, in a
folder of the worker's own. DuckDB follows links before it notes the path, so of its own files
users see where they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pondflight.engine.databases.plan import Spec
from pondflight.engine.duck import literal, quote

SQLITE = "sqlite"
_FOLDER = "databases"


class Files:
    """The files that a worker attaches. Its working directory must not change any more."""

    def __init__(self, database: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._database = database
        self._scratch = scratch
        self._present: set[str] = set()

    @property
    def present(self) -> frozenset[str]:
        """The aliases of those that are attached."""
        return frozenset(self._present)

    def attach(self, spec: Spec) -> None:
        """Attach one. Raises ``duckdb.Error``, or ``FileNotFoundError`` if it does not exist."""
        file = Path(spec.connection_string)
        if not file.is_file():  # SQLite would make one
            raise FileNotFoundError
        path, options = str(file), []
        if spec.type == SQLITE:
            options.append("TYPE sqlite")
            path = os.path.relpath(self._link(spec.alias, file))
        if spec.read_only:
            options.append("READ_ONLY")
        terms = f" ({', '.join(options)})" if options else ""
        with self._database.cursor() as cursor:
            cursor.execute(f"ATTACH {literal(path)} AS {quote(spec.alias)}{terms}")
            if spec.type == SQLITE:  # which opens nothing before it has to
                cursor.execute(f"SELECT * FROM sqlite_query({literal(spec.alias)}, 'SELECT 1')")
        self._present.add(spec.alias)

    @contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """While inside, the paths that DuckDB knows lead nowhere.

        For the moment in which the sandbox closes. DuckDB then notes the paths of attached files,
        and lets users read and overwrite those for ever after.
        """
        here = Path.cwd()
        nowhere = self._scratch / "nowhere"
        nowhere.mkdir(exist_ok=True)
        os.chdir(nowhere)
        try:
            yield
        finally:
            os.chdir(here)

    def _link(self, alias: str, file: Path) -> Path:
        link = self._scratch / _FOLDER / alias
        link.parent.mkdir(mode=0o700, exist_ok=True)
        link.symlink_to(file)
        return link
