"""Columns of PostgreSQL's tables whose values DuckDB's extension may change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pondflight.engine.databases.columns import Column, Doubt
from pondflight.engine.databases.conditions import double_quotes, literal_for_postgres

_WIDEST = 38
_MODIFIER_OFFSET = 4
_EXACT_SCALE = 15
_FLOATS_AS_TEXT_SINCE = 120_000
_PLAIN = frozenset(
    {
        *("bool", "int2", "int4", "int8", "numeric", "text", "varchar", "bpchar", "uuid"),
        *("timestamp", "json", "jsonb"),
    }
)
_FLOATS = frozenset({"float4", "float8"})

_COLUMNS = """
    SELECT n.nspname::text AS s, c.relname::text AS r, a.attname::text AS a,
           t.typname::text AS t, a.atttypmod::int AS m,
           pg_catalog.format_type(a.atttypid, a.atttypmod)::text AS f,
           pg_catalog.current_setting('server_version_num')::int AS v,
           CASE WHEN {settled} THEN pg_catalog.txid_current_snapshot()::text END AS x
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE lower(c.relname::text) IN ({names}) AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
      AND a.attnum > 0 AND NOT a.attisdropped
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
"""

_SETTLED = """
    c.relkind IN ('r', 'm', 'p') AND NOT c.relrowsecurity AND NOT pg_catalog.pg_is_in_recovery()
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS f WHERE f.relkind = 'f')
"""
"""Whether a table has the same rows in the same snapshot.

That is not so for foreign tables, tables that have them as partitions, and views and policies,
which may read the clock; nor on a standby, where the text of a snapshot is incomplete.
"""

quoted = double_quotes

_SPECIAL = "({0} = 'NaN' OR {0}::text LIKE '%Infinity')"
# At most 15 digits, found without the casts, which take ten times as long.
_EASY = "abs({0}) < 1e9 AND scale({0}) <= 6"
_INEXACT = (
    f"(CASE WHEN {_EASY} OR {_SPECIAL} OR {{0}} = 0 THEN false"
    " WHEN abs({0}) NOT BETWEEN 1e-290 AND 1e290 THEN true"
    " ELSE {0}::float8::numeric <> {0} END)"
)
_FAR = "({0} >= '294247-01-10' AND {0} <> 'infinity')"


def listed(tables: Sequence[str]) -> str:
    """Return the query for ``columns``: the columns of all tables with these names."""
    # Compared as bytes, so that no quote or backslash in a name can be misread.
    names = ", ".join(
        f"pg_catalog.convert_from(pg_catalog.decode('{name.encode().hex()}', 'hex'), 'UTF8')"
        for name in {table.lower() for table in tables}
    )
    return _COLUMNS.format(names=names, settled=_SETTLED)


def columns(rows: Iterable[Sequence[Any]]) -> Iterator[Column]:
    """Yield the columns in the result of the query of ``listed``."""
    for schema, table, name, type_, modifier, shown, version, state in rows:
        column = _quoted(name)
        is_numeric = type_.removeprefix("_") == "numeric"
        as_double = is_numeric and _is_double(modifier)
        doubts = (
            (Doubt(f"{column} IS NOT NULL", "a scale that DECIMAL has not"),)
            if is_numeric and _is_impossible(modifier)
            else tuple(_doubts(column, type_, as_double=as_double))
        )
        yield Column(
            schema=schema,
            table=table,
            name=name,
            type="numeric without precision and scale" if shown == "numeric" else shown,
            source=f"{_quoted(schema)}.{_quoted(table)}",
            doubts=doubts,
            written_as_double=as_double,
            plain=type_ in _PLAIN or (type_ in _FLOATS and version >= _FLOATS_AS_TEXT_SINCE),
            literal=literal_for_postgres(type_),
            state=state,
        )


def _is_double(modifier: int) -> bool:
    """Return whether DuckDB has no DECIMAL for a numeric with this type modifier."""
    return modifier < 0 or _precision(modifier) > _WIDEST or _is_impossible(modifier)


def _is_impossible(modifier: int) -> bool:
    """Return whether the scale is negative, or larger than the precision.

    The extension makes a DECIMAL of it all the same, which prints and computes wrong numbers.
    """
    scale = (((modifier - _MODIFIER_OFFSET) & 0x7FF) ^ 1024) - 1024
    return (
        modifier >= 0 and _precision(modifier) <= _WIDEST and not 0 <= scale <= _precision(modifier)
    )


def _precision(modifier: int) -> int:
    return ((modifier - _MODIFIER_OFFSET) >> 16) & 0xFFFF


def _doubts(column: str, type_: str, *, as_double: bool) -> Iterator[Doubt]:
    element, of_array = type_.removeprefix("_"), type_.startswith("_")
    if element == "numeric" and not as_double:
        yield _doubt("{0} = 'NaN'", column, "a NaN, which DECIMAL has not", of_array=of_array)
    if element == "numeric" and as_double:
        yield _doubt(
            _INEXACT, column, "values of more than 15 digits, which are not exact as DOUBLE",
            of_array=of_array,
        )  # fmt: skip
        hard = f"(NOT ({_EASY}) AND ({_SPECIAL} OR scale({{0}}) > {_EXACT_SCALE}))"
        reason = "NaN, Infinity, or values with more than 15 decimal places"
        yield _doubt(hard, column, reason, of_array=of_array, text_helps=not of_array)
    if element in {"timestamp", "timestamptz"}:
        reason = "times after the year 294246, which DuckDB cannot hold"
        yield _doubt(_FAR, column, reason, of_array=of_array)
    if element == "interval":
        yield _doubt("NOT isfinite({0})", column, "an infinite interval", of_array=of_array)


def _doubt(
    condition: str, column: str, reason: str, *, of_array: bool, text_helps: bool = False
) -> Doubt:
    if of_array:
        inner = condition.format("e")
        return Doubt(f"EXISTS (SELECT FROM unnest({column}) AS u(e) WHERE {inner})", reason)
    return Doubt(condition.format(column), reason, text_helps)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
