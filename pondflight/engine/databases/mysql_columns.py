"""The columns of MySQL's tables: their types in DuckDB and in MySQL, and values that may change."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from pondflight.engine.databases.columns import Column, Doubt
from pondflight.engine.databases.conditions import Literal, backticks, literal_for, plain
from pondflight.engine.duck import literal, quote

_REMEMBERED_SECONDS = 10.0
_FEW = 1_000_000
_WIDEST = 38
_DOUBTFUL = """
    SELECT table_schema AS s, table_name AS r, column_name AS a, column_type AS f,
           CAST(numeric_precision AS SIGNED) AS p
    FROM information_schema.columns
    WHERE table_schema NOT IN ({system}) AND table_name IN ({names})
      AND (data_type = 'decimal' AND numeric_precision > {widest}
           OR data_type IN ('geometrycollection', 'geomcollection'))
"""

_SYSTEM_SCHEMAS = "'information_schema', 'mysql', 'performance_schema', 'sys'"

_TWINS = f"""
    SELECT table_schema AS s, GROUP_CONCAT(table_name SEPARATOR '/') AS r
    FROM information_schema.tables
    WHERE table_schema NOT IN ({_SYSTEM_SCHEMAS})
    GROUP BY table_schema, LOWER(table_name)
    HAVING COUNT(*) > 1
"""

quoted = backticks


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a query names it; ``schema`` is MySQL's database, ``""`` the login's default."""

    alias: str
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table.

    ``types``: name and DuckDB type of each. ``binary``: text with a binary collation, which DuckDB
    reads as bytes in a query of ours. ``literals``: how to write constants for those that MySQL
    compares as DuckDB does. ``required``: those that are never NULL.
    """

    types: Mapping[str, str]
    binary: Collection[str]
    literals: Mapping[str, Literal]
    required: Collection[str]


class MysqlColumns:
    """What is known of the tables; read again every few seconds."""

    def __init__(self) -> None:
        self._known: dict[Table, tuple[float, Columns]] = {}

    def of(self, connection: duckdb.DuckDBPyConnection, table: Table) -> Columns | None:
        """Return the columns of ``table``; ``None`` if not known, or if a name is not plain.

        It does not use the transaction of ``connection``.
        """
        now = time.monotonic()
        known = self._known.get(table)
        if known is None or known[0] < now - _REMEMBERED_SECONDS:
            try:
                with connection.cursor() as cursor:
                    known = now, _asked(cursor, table)
            except duckdb.Error:  # the server is away, or has no such table
                return None
            self._known[table] = known
        columns = known[1]
        names = [*filter(None, [table.schema]), table.name, *columns.types]
        return columns if all(map(plain, names)) else None

    def are_few(self, connection: duckdb.DuckDBPyConnection, table: Table, sql: str) -> bool:
        """Return whether MySQL expects few enough rows of ``sql`` to keep them in memory."""
        try:
            with connection.cursor() as cursor:
                row = cursor.execute(
                    'SELECT max("rows") FROM system.main.mysql_query('
                    f"{literal(table.alias)}, {literal(f'EXPLAIN {sql}')})"
                ).fetchone()
        except duckdb.Error:
            return False
        return row is not None and row[0] is not None and int(row[0]) <= _FEW


def _asked(cursor: duckdb.DuckDBPyConnection, table: Table) -> Columns:
    name = ".".join(map(quote, filter(None, (table.alias, table.schema, table.name))))
    relation = cursor.sql(f"FROM {name}")
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    of_schema = "?" if table.schema else "DATABASE()"
    sql = (
        "SELECT column_name, data_type, collation_name, is_nullable FROM information_schema.columns"
        f" WHERE table_name = ? AND table_schema = {of_schema}"
    )
    names = [table.name, *filter(None, [table.schema])]
    parameters = ", ".join(f"p{number}: ?" for number, _ in enumerate(names))
    rows = cursor.execute(
        f"FROM system.main.mysql_query({literal(table.alias)}, {literal(sql)},"
        f" params := {{{parameters}}})",
        names,
    ).fetchall()
    systems = {name: system for name, system, *_ in rows}
    binary = {name for name, _, collation, _ in rows if str(collation).endswith("_bin")}
    required = {name for name, *_, nullable in rows if nullable == "NO"}
    found = {name: literal_for(systems.get(name, ""), kind) for name, kind in types.items()}
    literals = {name: write for name, write in found.items() if write is not None}
    return Columns(types, binary, literals, required)


def listed(tables: Sequence[str]) -> str:
    """Return the query for ``columns``: the doubtful columns of all tables with these names."""
    # Compared as bytes, so that no quote or backslash in a name can be misread.
    names = ", ".join(f"CONVERT(0x{name.encode().hex()} USING utf8mb4)" for name in tables)
    return _DOUBTFUL.format(names=names, widest=_WIDEST, system=_SYSTEM_SCHEMAS)


def twins(cursor: duckdb.DuckDBPyConnection, alias: str) -> dict[str, list[str]]:
    """Return, by schema, the tables of a database whose names are equal to DuckDB.

    DuckDB ignores case in names, and the server's own lists ignore case and accents, so the columns
    of such tables come mixed.
    """
    found: dict[str, list[str]] = {}
    query = f"FROM system.main.mysql_query({literal(alias)}, {literal(_TWINS)})"
    for schema, names in cursor.execute(query).fetchall():
        found.setdefault(schema, []).extend(names.split("/"))
    return found


def lowered(found: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return all names in the result of ``twins``, in lower case."""
    return frozenset(name.lower() for names in found.values() for name in names)


def columns(rows: Iterable[Sequence[Any]]) -> Iterator[Column]:
    """Yield the columns in the result of the query of ``listed``."""
    for schema, table, name, shown, precision in rows:
        column = _quoted(name)
        if precision is None:
            doubt = Doubt(f"{column} IS NOT NULL", "geometries that DuckDB takes for text")
        else:
            digits = f"CAST(CAST({column} AS DOUBLE) AS DECIMAL(65, 30)) <> {column}"
            doubt = Doubt(digits, "values of more than 15 digits, which are not exact as DOUBLE")
        yield Column(
            schema=schema,
            table=table,
            name=name,
            type=shown,
            source=f"{_quoted(schema)}.{_quoted(table)}",
            doubts=(doubt,),
            written_as_double=precision is not None,
        )


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
