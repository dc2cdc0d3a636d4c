"""A SQLite file as users see it: a catalog of views, each of which asks SQLite.

DuckDB's extension would parse the text of SQLite's views as SQL of its own (7/2 is 3.5 then), leave
out generated columns, read integers as seconds, and stop every list of tables at a view that it
cannot parse. So its own catalog of a file is hidden, and another one beside it has a view for each
table and view of the file. Tables that the extension reads correctly come from it; everything else
comes from queries that SQLite runs. These return text, each cell marked with its type, and DuckDB
casts it back without loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

import duckdb

from pondflight.engine.databases import sqlitefile
from pondflight.engine.databases.sqlitefile import EXACT, TEMPORAL, Broken, Column, Object, Type
from pondflight.engine.duck import literal, quote


class OnInvalid(StrEnum):
    """What to do with a cell that is not of its column's type."""

    ERROR = "error"
    """The statement that reads it fails."""
    NULL = "null"
    TEXT = "text"
    """Its column becomes text if it is among the first rows; otherwise the statement fails."""


_BAD = "!"
"""Marks the text of a cell that its column's type does not allow, so that no cast accepts it."""

_PLAIN = frozenset({Type.INTEGER, Type.REAL, Type.TEXT, Type.DATE})
"""Types that the extension reads strictly if the column was declared so."""

_REAL_TEXT = (
    "CASE WHEN CAST(CAST({0} AS TEXT) AS REAL) = {0}"
    " THEN CAST({0} AS TEXT) ELSE printf('%!.17g', {0}) END"
)
_ANY_TEXT = (
    f"CASE typeof({{0}}) WHEN 'real' THEN {_REAL_TEXT} WHEN 'blob' THEN quote({{0}}) ELSE {{0}} END"
)


def make(
    cursor: duckdb.DuckDBPyConnection,
    *,
    alias: str,
    raw: str,
    found: Iterable[Object | Broken],
    on_invalid: OnInvalid,
) -> Iterator[Object | Broken]:
    """Create the views of ``found`` in the catalog ``alias``; yield which exist, and which do not.

    ``raw`` is the catalog of DuckDB's extension.
    """
    for one in found:
        if isinstance(one, Broken):
            yield one
            continue
        text = view(one, alias=alias, raw=raw, on_invalid=on_invalid)
        name = f"{quote(alias)}.main.{quote(one.name)}"
        try:
            cursor.execute(f"CREATE VIEW {name} AS {text}")
        except duckdb.Error as error:
            yield Broken(one.name, str(error).partition("\n")[0])
        else:
            yield one


def view(one: Object, *, alias: str, raw: str, on_invalid: OnInvalid) -> str:
    """Return the SELECT for the rows of a SQLite table or view."""
    types = [
        column.as_held if on_invalid is OnInvalid.TEXT else column.as_declared
        for column in one.columns
    ]
    pairs = list(zip(one.columns, types, strict=True))
    if _is_plain(one, types, on_invalid):
        items = [
            _as(_utf8(quote(c.name), on_invalid) if t is Type.TEXT else quote(c.name), c.name)
            for c, t in pairs
        ]
        return f"SELECT {', '.join(items)} FROM {quote(raw)}.main.{quote(one.name)}"
    cells = ", ".join(
        f"{_cell(sqlitefile.identifier(column.name), type_)} AS {sqlitefile.identifier(str(index))}"
        for index, (column, type_) in enumerate(pairs)
    )
    query = f"SELECT {cells} FROM {sqlitefile.identifier(one.name)}"
    place = f"{alias}.{one.name}"
    items = [
        _as(_value(f"{quote(str(index))}", column, type_, place, on_invalid), column.name)
        for index, (column, type_) in enumerate(pairs)
    ]
    return f"SELECT {', '.join(items)} FROM sqlite_query({literal(raw)}, {literal(query)})"


def _is_plain(one: Object, types: list[Type], on_invalid: OnInvalid) -> bool:
    return (
        one.numbered
        and on_invalid is not OnInvalid.NULL
        and '"' not in one.name
        and all(
            column.declared is type_ and type_ in _PLAIN and not column.generated
            for column, type_ in zip(one.columns, types, strict=True)
        )
    )


def _cell(column: str, type_: Type) -> str:
    """Return SQLite's SQL for a cell as text, marked if it is not of that type."""
    kept = {
        Type.INTEGER: "WHEN typeof({0}) = 'integer' THEN {0}",
        Type.REAL: (
            f"WHEN typeof({{0}}) = 'integer' AND {EXACT} THEN {{0}}"
            " WHEN typeof({0}) = 'real' THEN printf('%!.20g', {0})"
        ),
        Type.BLOB: "WHEN typeof({0}) = 'blob' THEN hex({0})",
    }.get(type_)
    if type_ is Type.TEXT:
        return _ANY_TEXT.format(column)
    if kept is None:
        kept = f"WHEN typeof({{0}}) = 'text' AND {TEMPORAL[type_]} THEN {{0}}"
    bad = f"'{_BAD}' || {_ANY_TEXT}"
    return f"CASE WHEN {{0}} IS NULL THEN NULL {kept} ELSE {bad} END".format(column)


def _value(cell: str, column: Column, type_: Type, place: str, on_invalid: OnInvalid) -> str:
    """Return DuckDB's SQL for the value that the text of a cell stands for."""
    if type_ is Type.TEXT:
        return _utf8(cell, on_invalid)
    if type_ is Type.BLOB:
        value = f"CASE WHEN {cell} NOT LIKE '{_BAD}%' THEN unhex({cell}) END"
    else:
        value = f"TRY_CAST({cell} AS {type_})"
    if on_invalid is OnInvalid.NULL:
        return value
    why = f"the column {column.name} of {place} is {type_}, and has a cell that is not: "
    after = ". The administrator can let it be read (on_invalid of the database)"
    message = f"{literal(why)} || ltrim({cell}[:80], '{_BAD}') || {literal(after)}"
    return (
        f"CASE WHEN {cell} IS NOT NULL AND ({value}) IS NULL THEN error({message}) ELSE {value} END"
    )


def _utf8(text: str, on_invalid: OnInvalid) -> str:
    """Return SQL for valid UTF-8 of any ``text``; with ERROR, invalid text is an error."""
    checked = f"TRY(decode(encode({text})))"
    if on_invalid is OnInvalid.ERROR:
        return f"decode(encode({text}))"
    if on_invalid is OnInvalid.NULL:
        return checked
    return f"coalesce({checked}, CAST(encode({text}) AS VARCHAR))"


def _as(item: str, name: str) -> str:
    return f"{item} AS {quote(name)}"
