"""Limits the disk space of a user: the file with their own tables, and scratch files.

DuckDB limits neither, only what it spills. So a statement that adds data is refused while there is
no room, and interrupted when it takes much too much; the files that it made are then removed. A
statement that frees space may always run.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from pondflight.engine.guards.callers import Call
from pondflight.errors import LimitExceeded
from pondflight.units import format_size

log = logging.getLogger(__name__)

FILE = "home.duckdb"
"""Its stem is the name of the catalog: users see ``home``, or ``memory`` without storage."""

_OF_DATABASE = re.compile(r"\.(?:db|ddb|duckdb|wal)\b", re.IGNORECASE)
_TOO_LARGE = 1.25  # of the limit, while a statement runs: a checkpoint writes before it frees
_WATCH_SECONDS = 0.05


class Storage:
    """The file in ``folder``, if there is one, and the scratch files in ``scratch``.

    ``limit`` and ``scratch_limit`` are in bytes; ``None``: no limit.
    """

    def __init__(self, folder: Path | None = None, scratch: Path | None = None) -> None:
        self.limit: int | None = None
        self.scratch_limit: int | None = None
        self.file: Path | None = None
        self._scratch = scratch
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.file = folder / FILE
        self._lock = threading.Lock()
        self._writers: dict[Call, tuple[int, int]] = {}

    @contextmanager
    def writing(
        self, call: Call, database: duckdb.DuckDBPyConnection, *, adds: bool
    ) -> Iterator[None]:
        """Let a statement run if it may; ``adds``: to tables or files. Raises ``LimitExceeded``."""
        if not adds or (self.limit is None and self.scratch_limit is None):
            yield
            return
        self._make_room(database)
        before = self._files()
        with self._lock:
            idle = not self._writers
            self._writers[call] = self._size(), sum(before.values())
            if idle:
                threading.Thread(target=self._watch, name="storage-watch", daemon=True).start()
        try:
            yield
        except BaseException:
            if self.scratch_limit is not None and self._over_scratch():
                for path in map(Path, self._files().keys() - before.keys()):
                    if not _OF_DATABASE.search(path.name):  # DuckDB has the others open
                        path.unlink(missing_ok=True)
            raise
        finally:
            with self._lock:
                del self._writers[call]

    def _make_room(self, database: duckdb.DuckDBPyConnection) -> None:
        if self.file is not None and self.limit is not None and _used(database) >= self.limit:
            _check_point(database)  # what was deleted becomes free only by this
            if _used(database) >= self.limit:
                raise _full(self.limit)
        if self.scratch_limit is not None and self._over_scratch():
            raise _scratch_full(self.scratch_limit)

    def _over_scratch(self) -> bool:
        assert self.scratch_limit is not None
        return sum(self._files().values()) >= self.scratch_limit

    def close(self, database: duckdb.DuckDBPyConnection) -> None:
        """Make the file as small as possible before it is closed."""
        if self.file is not None:
            _check_point(database)

    def _watch(self) -> None:
        """Cancel writers that make the file too large, for as long as there are writers."""
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

    def _end_too_large(self, writers: list[tuple[Call, tuple[int, int]]]) -> None:
        size, scratch = self._size(), sum(self._files().values())
        for call, (size_before, scratch_before) in writers:
            if self.limit is not None and size > max(self.limit * _TOO_LARGE, size_before):
                call.cancel(_full(self.limit))
            limit = self.scratch_limit
            if limit is not None and scratch > max(limit, scratch_before):
                call.cancel(_scratch_full(limit))

    def _size(self) -> int:
        """Return the size of the file and its write-ahead log, in bytes."""
        size = 0
        if self.file is not None:
            for path in (self.file, self.file.with_name(f"{FILE}.wal")):
                with suppress(OSError):
                    size += path.stat().st_size
        return size

    def _files(self) -> dict[str, int]:
        """Return the scratch files with their sizes in bytes."""
        sizes: dict[str, int] = {}
        pending = [] if self._scratch is None else [str(self._scratch)]
        while pending:
            with suppress(OSError), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        with suppress(OSError):  # it may have been removed
                            sizes[entry.path] = entry.stat(follow_symlinks=False).st_size
        return sizes


def _used(database: duckdb.DuckDBPyConnection) -> int:
    """Return the bytes in use; free blocks of the file do not count."""
    with database.cursor() as cursor:
        # By its full name and without an operator, since a user's macros may have the same names.
        row = cursor.execute(
            "SELECT used_blocks, block_size, wal_size FROM system.main.pragma_database_size() "
            "WHERE database_name = ?",
            [Path(FILE).stem],
        ).fetchone()
    assert row is not None
    blocks, block_size, log = row
    return int(blocks) * int(block_size) + _bytes(str(log))


def _bytes(text: str) -> int:
    """Return the bytes of a size as DuckDB writes it, such as ``12.3 MiB``."""
    number, _, unit = text.partition(" ")
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    return int(float(number) * 1024 ** (units.index(unit) if unit in units else 0))


def _check_point(database: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error), database.cursor() as cursor:  # not in a transaction
        cursor.execute("CHECKPOINT")


def _full(limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"your storage is full ({format_size(limit)}, duckdb.storage_limit): "
        "drop or delete what you do not need any more"
    )


def _scratch_full(limit: int) -> LimitExceeded:
    return LimitExceeded(
        f"your scratch directory is full ({format_size(limit)}, duckdb.scratch_limit): "
        "it is emptied when your worker stops"
    )
