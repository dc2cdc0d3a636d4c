"""The one module that knows how DuckDB fails and how it is opened."""

from __future__ import annotations

import re
import time
from pathlib import Path

import duckdb

from pondflight.errors import (
    Cancelled,
    Internal,
    NotSupported,
    PondflightError,
    SqlError,
    Unavailable,
)

_LOCK_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.1

_MEMORY_SHARE = 0.8
"""Part of the worker's memory that DuckDB may use; the rest is Python, Arrow and gRPC."""

_MEMORY_REST = 64 << 20
_SMALLEST_SHARE = 0.4
"""The rest is at least ``_MEMORY_REST`` bytes, since DuckDB may exceed its limit by 40 MB. In a
very small worker, DuckDB gets at least ``_SMALLEST_SHARE`` of the memory."""

_NARROWED = "system.main.mysql_query("
"""Marks queries that ``databases.narrowing`` has made; no user's text can contain it."""
_TRACE = re.compile(
    r"\s*\n+Stack Trace:|\s*\nThis error signals an assertion failure within DuckDB"
)
"""Where what nobody but DuckDB's makers can use begins, paths of this machine among it."""

_LINE = re.compile(r"\nLINE (\d+): ")
# A stream that fails half way loses its exception class: pyarrow raises an OSError.
_PREFIX = re.compile(
    r"^(?:[\w ]+Error: )?((?:[A-Z]\w*|INTERNAL|INTERRUPT|TransactionContext)[\w ]* Error): "
)


_LEAVES: tuple[tuple[type[Exception] | str, type[PondflightError]], ...] = (
    ("INTERRUPT Error", Cancelled),
    ("Connection already closed", Unavailable),
    (duckdb.FatalException, Internal),
    (duckdb.InternalException, Internal),
    (duckdb.NotImplementedException, NotSupported),
)
"""Exceptions, or words in their message, that are not the statement's fault or not its syntax's."""


class StorageInUse(Exception):
    """Another process has the file open."""


def open_database(
    scratch: Path, *, memory_limit: int, threads: int, file: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """Open DuckDB within its limits: on ``file``, or empty and in memory.

    ``memory_limit`` is the worker's, in bytes; spilled data goes to ``scratch``. Raises
    ``StorageInUse`` if the file stays locked for some seconds; another worker may still be ending.
    """
    files_folder(scratch).mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection = duckdb.connect(
                str(file or ":memory:"), config=_configuration(scratch, memory_limit, threads)
            )
            break
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise StorageInUse("the storage of this user is open in another worker") from None
            time.sleep(_LOCK_POLL_SECONDS)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def _configuration(
    scratch: Path, memory_limit: int, threads: int
) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": f"{duckdb_memory(memory_limit)}B",
        "threads": str(threads),
        "temp_directory": str(scratch / "spill"),
        # ``duckdb_extensions()`` looks there, since it may not look into a home directory.
        "extension_directory": str(scratch / "spill" / "extensions"),
        # Our Python variables are not the user's tables.
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
        # Until ours are loaded: see ``extensions.load``.
        "allow_unsigned_extensions": "true",
    }


def duckdb_memory(memory_limit: int) -> int:
    """Return how many bytes of the worker's memory DuckDB may use."""
    share = min(memory_limit * _MEMORY_SHARE, memory_limit - _MEMORY_REST)
    return int(max(share, memory_limit * _SMALLEST_SHARE))


def files_folder(scratch: Path) -> Path:
    """Return the folder of users' own files: ``COPY … TO 'name.csv'`` writes there."""
    return scratch / "files"


class sql_errors:  # noqa: N801  reads as a noun where it is used
    """Turns DuckDB's exceptions into ours, with the message unchanged.

    ``lines_above`` is the number of lines put before the user's text; it is subtracted from
    DuckDB's line numbers.
    """

    def __init__(self, *, lines_above: int = 0) -> None:
        self._lines_above = lines_above

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, PondflightError) or not isinstance(error, Exception):
            return
        leaf = sql_error(error, lines_above=self._lines_above)
        if leaf is not None:
            raise leaf from error


def sql_error(error: BaseException, *, lines_above: int = 0) -> PondflightError | None:
    """Return our error for an exception of DuckDB; ``None`` if it is not one."""
    if isinstance(error, UnicodeDecodeError):  # its message quotes bytes that are not text
        return SqlError(error.object.decode("utf-8", "replace"))
    text = str(error)
    if not isinstance(error, duckdb.Error) and not _PREFIX.match(text):
        return None
    if _NARROWED in text:  # the position in a text that is not the user's
        text = _LINE.split(text, maxsplit=1)[0].rstrip()
    if lines_above:
        text = _LINE.sub(lambda m: f"\nLINE {int(m[1]) - lines_above}: ", text)
    text = _TRACE.split(text)[0]
    if "No space left on device" in text:
        return Internal("disk full: the statement could not write its temporary data")
    for sign, leaf in _LEAVES:
        if isinstance(error, sign) if isinstance(sign, type) else sign in text:
            return leaf(text)
    return SqlError(text)


def is_interrupt(error: BaseException) -> bool:
    """Return whether DuckDB says that the statement was interrupted."""
    return "INTERRUPT Error" in str(error)[:40]


def quote(identifier: str) -> str:
    """Return ``identifier`` as a delimited identifier in SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return ``text`` as a string literal in SQL."""
    return "'" + text.replace("'", "''") + "'"
