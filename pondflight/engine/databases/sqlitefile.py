"""What a SQLite file contains, by SQLite itself: tables, views, and the types of their columns.

SQLite gives types to cells, not to columns: a column declared INTEGER may hold 'N/A', and a column
of a view has no declared type at all. So the first rows are inspected too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encoded

if TYPE_CHECKING:
    import sqlite3

SAMPLE_ROWS = 10_000
"""The number of rows of a table or view that are sampled to find its types."""

_SAMPLE_STEPS = 20_000_000
"""The number of SQLite VM instructions for sampling: some tenths of a second.

If a view takes longer, its content is not known, and its columns are text.
"""

_STEPS_PER_CALL = 10_000
_COLUMNS_PER_QUERY = 100
_LARGEST_EXACT = 2**53
_HIDDEN_FROM_STAR = 1


class Type(StrEnum):
    """The types that columns get, by DuckDB's names."""

    INTEGER = "BIGINT"
    REAL = "DOUBLE"
    TEXT = "VARCHAR"
    BLOB = "BLOB"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"


TEMPORAL: dict[Type, str] = {
    Type.DATE: "{0} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]' AND date({0}) = {0}",
    Type.TIME: "{0} GLOB '[0-9][0-9]:[0-9][0-9]*' AND time({0}) IS NOT NULL",
    Type.TIMESTAMP: (
        "{0} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' AND julianday({0}) IS NOT NULL"
        " AND substr({0}, 11) NOT GLOB '*[-+Zz]*'"
    ),
}
"""For each of these types, SQLite's SQL that tells whether the text ``{0}`` is of it."""

EXACT = f"{{0}} BETWEEN -{_LARGEST_EXACT} AND {_LARGEST_EXACT}"
"""Whether a DOUBLE can hold the integer ``{0}`` exactly."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    ``declared`` is its declared type, or ``None``; ``held`` is the type that fits the inspected
    cells, or ``None`` if there were none, or too little time.
    """

    name: str
    declared: Type | None
    held: Type | None
    generated: bool

    @property
    def as_declared(self) -> Type:
        """Return the type for readers who go by the declaration."""
        return self.declared or self.held or Type.TEXT

    @property
    def as_held(self) -> Type:
        """Return the type for readers who want every cell."""
        return self.held or self.declared or Type.TEXT


@dataclass(frozen=True, slots=True)
class Object:
    """A table or view with its columns and the names of its primary key's columns, in order.

    ``numbered``: its rows have numbers, which DuckDB's extension reads if it needs no column.
    """

    name: str
    is_view: bool
    numbered: bool
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A table or view that SQLite itself cannot read, with its message."""

    name: str
    reason: str


def objects(path: Path) -> Iterator[Object | Broken]:
    """Yield the tables and views of the file. Raises ``sqlite3.Error`` if it is not SQLite's."""
    import sqlite3  # noqa: PLC0415 - only workers with SQLite files wait for it

    uri = f"file:{percent_encoded(str(path))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as file:
        names = file.execute(
            "SELECT name, type = 'view' FROM sqlite_master"
            " WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " ORDER BY name"
        ).fetchall()
        for name, is_view in names:
            try:
                yield _object(file, name, is_view=bool(is_view))
            except sqlite3.Error as error:
                yield Broken(name, str(error))


def identifier(name: str) -> str:
    """Return ``name`` as an identifier in SQLite's SQL."""
    return '"' + name.replace('"', '""') + '"'


def declared(text: str) -> Type | None:
    """Return the type that a column's declaration asks for: SQLite's affinities, and dates."""
    words = text.strip().lower()
    if not words:
        return None
    for sign, found in (
        ("int", Type.INTEGER),
        ("bool", Type.INTEGER),
        ("char", Type.TEXT),
        ("clob", Type.TEXT),
        ("text", Type.TEXT),
        ("blob", Type.BLOB),
        ("real", Type.REAL),
        ("floa", Type.REAL),
        ("doub", Type.REAL),
        ("datetime", Type.TIMESTAMP),
        ("timestamp", Type.TIMESTAMP),
        ("dec", Type.REAL),
        ("num", Type.REAL),
    ):
        if sign in words:
            return found
    return {"date": Type.DATE, "time": Type.TIME}.get(words, Type.TEXT)


def _object(file: sqlite3.Connection, name: str, *, is_view: bool) -> Object:
    rows = file.execute("SELECT * FROM pragma_table_xinfo(?)", [name]).fetchall()
    shown = [row for row in rows if row[6] != _HIDDEN_FROM_STAR]
    file.execute(f"SELECT * FROM {identifier(name)} LIMIT 0")  # a broken view shows here
    types = [declared(row[2]) for row in shown]
    held = _held(file, name, [row[1] for row in shown], types)
    columns = tuple(
        Column(row[1], type_, found, generated=row[6] != 0)
        for row, type_, found in zip(shown, types, held, strict=True)
    )
    keys = sorted((row[5], row[1]) for row in shown if row[5])
    return Object(
        name,
        is_view=is_view,
        numbered=not is_view and _runs(file, f"SELECT rowid FROM {identifier(name)} LIMIT 0"),
        columns=columns,
        primary_key=tuple(key for _, key in keys),
    )


def _runs(file: sqlite3.Connection, query: str) -> bool:
    import sqlite3  # noqa: PLC0415 - loaded by now

    try:
        file.execute(query)
    except sqlite3.Error:
        return False
    return True


def _held(
    file: sqlite3.Connection, table: str, names: Sequence[str], types: Sequence[Type | None]
) -> list[Type | None]:
    """Return, for each column, the type that fits its first cells."""
    found: list[Type | None] = []
    for start in range(0, len(names), _COLUMNS_PER_QUERY):
        part = slice(start, start + _COLUMNS_PER_QUERY)
        terms = [_terms(*pair) for pair in zip(names[part], types[part], strict=True)]
        row = _limited(
            file,
            f"SELECT {', '.join(terms)} FROM"
            f" (SELECT * FROM {identifier(table)} LIMIT {SAMPLE_ROWS})",
        )
        if row is None:
            found += [None] * len(terms)
            continue
        for index, type_ in enumerate(types[part]):
            found.append(_suitable(type_, *row[index * 5 : index * 5 + 5]))
    return found


def _limited(file: sqlite3.Connection, query: str) -> Any:
    """Return the one row of ``query``; ``None`` if it takes too long or fails half way."""
    import sqlite3  # noqa: PLC0415 - loaded by now

    calls = 0

    def too_long() -> bool:
        nonlocal calls
        calls += 1
        return calls > _SAMPLE_STEPS // _STEPS_PER_CALL

    file.set_progress_handler(too_long, _STEPS_PER_CALL)
    try:
        with suppress(sqlite3.Error):
            return file.execute(query).fetchone()
    finally:
        file.set_progress_handler(None, 0)
    return None


def _terms(name: str, type_: Type | None) -> str:
    """Return SQL that tells whether a column has integers, reals, texts or blobs, and misfits."""
    column = identifier(name)
    classes = [f"max(typeof({column}) = '{kind}')" for kind in ("integer", "real", "text", "blob")]
    misfit = f"typeof({column}) = 'integer' AND NOT ({EXACT.format(column)})"
    if type_ in TEMPORAL:
        suits = TEMPORAL[type_].format(column)
        misfit = f"({misfit}) OR (typeof({column}) = 'text' AND coalesce(NOT ({suits}), 1))"
    return ", ".join([*classes, f"max(coalesce({misfit}, 0))"])


def _suitable(type_: Type | None, *cells: int | None) -> Type | None:
    """Return the type that fits ``cells``, a row of ``_terms``, in a column declared ``type_``."""
    *classes, misfit = cells
    names = ("integer", "real", "text", "blob")
    held = {name for name, has in zip(names, classes, strict=True) if has}
    if not held:
        return None
    numbers = held <= {"integer", "real"}
    if type_ is Type.TEXT:
        return Type.TEXT
    if type_ in TEMPORAL and held == {"text"}:
        return Type.TEXT if misfit else type_
    if held == {"integer"} and (misfit or type_ is not Type.REAL):
        return Type.INTEGER
    if numbers and not misfit:
        return Type.REAL
    return Type.BLOB if held == {"blob"} else Type.TEXT
