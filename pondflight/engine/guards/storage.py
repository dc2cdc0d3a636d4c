"""The file that holds a user's own tables, and how large it may become.

DuckDB knows no limit of its own. So a statement that adds something is refused while the file is
full, and interrupted when it makes it much too large; what takes something away may always run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from pondflight.errors import LimitExceeded
from pondflight.flightsql import Call
from pondflight.units import format_size

log = logging.getLogger(__name__)

FILE = "home.duckdb"
"""Its name is the name of the catalog: users see ``home``, as they see ``memory`` without it."""

_TOO_LARGE = 1.25  # of the limit, in the middle of a statement: a checkpoint writes before it frees
_WATCH_SECONDS = 0.1


class Storage:
    """The file in ``folder``; no file, and no limit, without one. ``limit`` is in bytes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.limit: int | None = None
        self.file: Path | None = None
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.file = folder / FILE
        self._lock = threading.Lock()
        self._writers: dict[Call, int] = {}

    @contextmanager
    def writing(
        self, call: Call, database: duckdb.DuckDBPyConnection, *, adds: bool
    ) -> Iterator[None]:
        """Let a statement run, if it may. Raises ``LimitExceeded``. ``adds``: to the file."""
        limit = self.limit
        if self.file is None or limit is None or not adds:
            yield
            return
        if _used(database) >= limit:
            _check_point(database)  # what was deleted is free only then
            if _used(database) >= limit:
                raise _full(limit)
        with self._lock:
            idle = not self._writers
            self._writers[call] = self._size()
            if idle:
                threading.Thread(target=self._watch, name="storage-watch", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._writers[call]

    def close(self, database: duckdb.DuckDBPyConnection) -> None:
        """Leave the file as small as it can be."""
        if self.file is not None:
            _check_point(database)

    def _watch(self) -> None:
        """Cancel the writers that make the file too large, as long as there are writers."""
        pause = threading.Event()
        while True:
            with self._lock:
                if not self._writers:
                    return
                writers = list(self._writers.items())
            try:
                self._end_too_large(writers)
            except Exception:
                log.exception("the size of the storage could not be watched")
            pause.wait(_WATCH_SECONDS)

    def _end_too_large(self, writers: list[tuple[Call, int]]) -> None:
        limit, size = self.limit, self._size()
        if limit is not None and size > limit * _TOO_LARGE:
            for call, size_before in writers:
                if size > size_before:
                    call.cancel(_full(limit))

    def _size(self) -> int:
        """Of the file and its log, in bytes."""
        assert self.file is not None
        size = 0
        for path in (self.file, self.file.with_name(f"{FILE}.wal")):
            with suppress(OSError):
                size += path.stat().st_size
        return size


def _used(database: duckdb.DuckDBPyConnection) -> int:
    """Bytes that hold something: what is free in the file does not count."""
    with database.cursor() as cursor:
        # By its full name, and without an operator: a user's macros may have the same names.
        row = cursor.execute(
            "SELECT used_blocks, block_size, wal_size FROM system.main.pragma_database_size() "
            "WHERE database_name = ?",
            [Path(FILE).stem],
        ).fetchone()
    assert row is not None
    blocks, block_size, log = row
    return int(blocks) * int(block_size) + _bytes(str(log))


def _bytes(text: str) -> int:
    """Of a size as DuckDB writes it: ``12.3 MiB``."""
    number, _, unit = text.partition(" ")
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    return int(float(number) * 1024 ** (units.index(unit) if unit in units else 0))


def _check_point(database: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error), database.cursor() as cursor:  # a transaction is open: another time
        cursor.execute("CHECKPOINT")


def _full(limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"your storage is full ({format_size(limit)}, duckdb.storage_limit): "
        "drop or delete what you do not need any more"
    )
