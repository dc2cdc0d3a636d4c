"""DuckDB's types as clients see them: casts before they are sent, and names of columns.

Most types have an Arrow type that holds all their values, and DuckDB exports them as that. The few
that have none, or that widely used clients cannot read, are cast in SQL before they are sent;
docs/types.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from pondflight.engine.duck import quote

Kind: TypeAlias = Any
"""A DuckDB type, as ``DuckDBPyType``: ``id`` is its family, ``children`` are those inside it."""

_CAST_TO: Mapping[str, str] = {
    # DuckDB's export loses the offset.
    "time with time zone": "VARCHAR",
    # An internal format with padding.
    "bit": "VARCHAR",
    # The export is a signed number of 128 bits: large values come out negative.
    "uhugeint": "VARCHAR",
    # An internal format.
    "bignum": "VARCHAR",
    # No export at all.
    "variant": "JSON",
    # Dictionaries: the JDBC driver shows the index instead of the value.
    "enum": "VARCHAR",
    # Arrow's type has nanoseconds, and the export lets them overflow: see ``_cast``.
    "interval": "INTERVAL",
}
_LONGEST_HOURS = (2**63 - 1) // (3600 * 10**9) - 1
"""An interval of up to this many hours fits into int64 nanoseconds, whatever its minutes are."""

_LARGEST_ANNOTATED = 2 << 20
"""Bytes of a schema: half of gRPC's default limit, since a FlightInfo also contains the SQL."""

_PRECISION: Mapping[str, int] = {
    "tinyint": 3,
    "utinyint": 3,
    "smallint": 5,
    "usmallint": 5,
    "integer": 10,
    "uinteger": 10,
    "bigint": 19,
    "ubigint": 20,
    "hugeint": 39,
}
"""Decimal digits of the whole numbers."""


def sent_as(kind: Kind) -> str | None:
    """Return the SQL type that values of ``kind`` are cast to before they are sent; None: no cast.

    Nested types change if a type inside them does. The fields of a struct without names (``row(1,
    2)``) get the names f1, f2 …, since many clients need different names for fields.
    """
    family = kind.id
    if family in ("list", "array"):
        parts = dict(kind.children)
        child = sent_as(parts["child"])
        return None if child is None else f"{child}[{parts.get('size', '')}]"
    if family in ("struct", "union", "map"):
        members = [(name, member) for name, member in kind.children if family != "union" or name]
        cast = [sent_as(member) for _, member in members]
        unnamed = family == "struct" and not all(name for name, _ in members)
        if not unnamed and not any(cast):
            return None
        types = [new or str(old) for new, (_, old) in zip(cast, members, strict=True)]
        if family == "map":
            return f"MAP({', '.join(types)})"
        names = [name or f"f{i}" for i, (name, _) in enumerate(members, 1)]
        inside = ", ".join(f"{quote(n)} {t}" for n, t in zip(names, types, strict=True))
        return f"{family.upper()}({inside})"
    return _CAST_TO.get(family)


def cast_columns(text: str, names: Iterable[str], casts: Iterable[str | None]) -> str:
    """Return a query with the rows of the query ``text``, in which some columns are cast.

    ``text`` begins in the second line of the result.
    """
    columns = list(enumerate(zip(names, casts, strict=True)))
    aliases = ", ".join(f"c{i}" for i, _ in columns)
    return f"SELECT {projection(columns, 'c')} FROM (\n{text}\n) AS result({aliases})"


def projection(columns: Iterable[tuple[int, tuple[str, str | None]]], prefix: str) -> str:
    """Return a select list: column ``prefix`` + number, cast if a type is given, with its name."""
    return ", ".join(
        f"{_cast(f'{prefix}{i}', cast)} AS {quote(name)}" for i, (name, cast) in columns
    )


def _cast(column: str, cast: str | None) -> str:
    if cast is None:
        return column
    if cast == "JSON":  # else a NULL of type VARIANT becomes the text "null"
        return f"CASE WHEN {column} IS NOT NULL THEN CAST({column} AS JSON) END"
    if cast == "INTERVAL":
        return (
            f"CASE WHEN abs(date_part('hour', {column})) > {_LONGEST_HOURS}"
            " THEN error('an interval of more than 292 years in hours has no form in Arrow: cast it"
            f" to VARCHAR') ELSE {column} END"
        )
    return f"CAST({column} AS {cast})"


def kind_of(type_name: str) -> Kind | None:
    """Return the type that DuckDB's catalog spells so; ``None`` for the few without a spelling."""
    try:
        return duckdb.sqltype(type_name)
    except duckdb.Error:
        return None


def metadata_key(name: str) -> bytes:
    """Return Flight SQL's key for metadata of a column."""
    return f"ARROW:FLIGHT:SQL:{name}".encode()


def column_metadata(kind: Kind) -> Mapping[bytes, bytes]:
    """Return Flight SQL's metadata of a result's column, beside its Arrow type and name."""
    family = kind.id
    return _metadata(str(kind), family, tuple(kind.children) if family == "decimal" else ())


@lru_cache(maxsize=1024)
def _metadata(
    name: str, family: str, children: tuple[tuple[str, object], ...]
) -> Mapping[bytes, bytes]:
    found: dict[str, object] = {
        "TYPE_NAME": name,
        "IS_AUTO_INCREMENT": 0,
        "IS_CASE_SENSITIVE": int(family in ("varchar", "enum")),
        "IS_READ_ONLY": 1,
        "IS_SEARCHABLE": 1,
    }
    if family == "decimal":
        parts = dict(children)
        found |= {"PRECISION": parts["precision"], "SCALE": parts["scale"]}
    elif family in _PRECISION:
        found |= {"PRECISION": _PRECISION[family], "SCALE": 0}
    return {metadata_key(key): str(value).encode() for key, value in found.items()}


def annotated(schema: pa.Schema, columns: Iterable[Mapping[bytes, bytes]]) -> pa.Schema:
    """Return ``schema`` with more metadata on each column, or with none if that is too large.

    A schema is one message, which many clients refuse above 4 MiB. Flight SQL's metadata may be
    absent; names and types may not.
    """
    full = pa.schema([with_metadata(*pair) for pair in zip(schema, columns, strict=True)])
    return full if full.serialize().size <= _LARGEST_ANNOTATED else schema


def with_metadata(field: pa.Field, more: Mapping[bytes, bytes]) -> pa.Field:
    """Return ``field`` with additional metadata."""
    return field.with_metadata({**(field.metadata or {}), **more})
