"""Databases that are files: SQLite's and DuckDB's own.

DuckDB keeps the path of whatever is attached, and shows it in errors. For SQLite that is the name
of a link in a folder of the worker's. For DuckDB's own files, it follows links first, so the
sandbox hides that path from users (``engine.guards.paths``).

A SQLite file that is only read is attached twice: hidden, by DuckDB's extension, and as the catalog
of views that ``sqliteviews`` makes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pondflight.engine.databases import sqlitefile, sqliteviews
from pondflight.engine.databases.plan import Spec
from pondflight.engine.databases.sqlitefile import Broken, Object
from pondflight.engine.databases.sqliteviews import OnInvalid
from pondflight.engine.duck import literal, quote
from pondflight.telemetry.logs import Event, get_logger

log = get_logger()

SQLITE = "sqlite"
_FOLDER = "databases"


class CannotOpen(Exception):
    """The file does not exist, is damaged, or in use."""


class Files:
    """The files that a worker attaches. The worker's directory must not change afterwards."""

    def __init__(self, database: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._database = database
        self._scratch = scratch
        self._present: set[str] = set()
        self._hidden: set[str] = set()
        self._of_sqlite: dict[str, list[Object]] = {}

    @property
    def present(self) -> frozenset[str]:
        """Return the aliases of the attached files."""
        return frozenset(self._present)

    @property
    def hidden(self) -> frozenset[str]:
        """Return the hidden catalogs behind the views of SQLite files."""
        return frozenset(self._hidden)

    @property
    def of_sqlite(self) -> dict[str, list[Object]]:
        """Return the tables and views of the SQLite files that are read through views, by alias."""
        return self._of_sqlite

    def attach(self, spec: Spec) -> None:
        """Attach one file. Raises ``CannotOpen``."""
        file = Path(spec.connection_string)
        if not file.is_file():  # SQLite would create one
            raise CannotOpen
        try:
            if spec.type == SQLITE:
                self._attach_sqlite(spec, file)
            else:
                self._execute(_attach(str(file), spec.alias, read_only=spec.read_only))
        except duckdb.Error:  # the message has the path in it
            raise CannotOpen from None
        self._present.add(spec.alias)

    def _attach_sqlite(self, spec: Spec, file: Path) -> None:
        import sqlite3  # noqa: PLC0415 - only workers with SQLite files wait for it

        path = os.path.relpath(self._link(spec.alias, file))
        try:
            found = list(sqlitefile.objects(file))
        except sqlite3.Error:
            raise CannotOpen from None
        has_views = any(isinstance(one, Broken) or one.is_view for one in found)
        if not spec.read_only and not has_views:
            self._attach_raw(path, spec.alias)
            return
        if not spec.read_only:
            log.warning(
                Event.DATABASE_READ_ONLY,
                alias=spec.alias,
                reason="it is a SQLite file with views, whose SQL DuckDB takes for its own",
            )
        raw = f"__{spec.alias}_{secrets.token_hex(4)}"
        self._attach_raw(path, raw, "READ_ONLY", "HIDDEN")
        self._hidden.add(raw)
        self._of_sqlite[spec.alias] = self._attach_views(spec, raw, found)

    def _attach_raw(self, path: str, name: str, *options: str) -> None:
        terms = ", ".join(["TYPE sqlite", *options])
        self._execute(f"ATTACH {literal(path)} AS {quote(name)} ({terms})")
        # The extension opens the file only when it must.
        self._execute(f"SELECT * FROM sqlite_query({literal(name)}, 'SELECT 1')")

    def _attach_views(self, spec: Spec, raw: str, found: Iterable[Object | Broken]) -> list[Object]:
        """Attach the catalog of views. It is a file, since only files can be read-only."""
        file = self._scratch / _FOLDER / f"{spec.alias}.views"
        on_invalid = OnInvalid(spec.on_invalid or OnInvalid.TEXT)
        made: list[Object] = []
        self._execute(_attach(str(file), spec.alias, read_only=False))
        with self._database.cursor() as cursor:
            for one in sqliteviews.make(
                cursor, alias=spec.alias, raw=raw, found=found, on_invalid=on_invalid
            ):
                if isinstance(one, Broken):
                    log.warning(
                        Event.DATABASE_OBJECT_LEFT_OUT,
                        alias=spec.alias,
                        name=one.name,
                        reason=one.reason,
                    )
                else:
                    made.append(one)
        self._execute(f"DETACH {quote(spec.alias)}")
        self._execute(_attach(str(file), spec.alias, read_only=True))
        return made

    def _execute(self, statement: str) -> None:
        with self._database.cursor() as cursor:
            cursor.execute(statement)

    @contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """While inside, the paths that DuckDB knows lead nowhere.

        Use it for the moment in which the sandbox closes: DuckDB then notes the paths of attached
        files, and would let users read and overwrite them from then on.
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


def _attach(path: str, alias: str, *, read_only: bool) -> str:
    """Return the statement that attaches a DuckDB file."""
    terms = " (READ_ONLY)" if read_only else ""
    return f"ATTACH {literal(path)} AS {quote(alias)}{terms}"
