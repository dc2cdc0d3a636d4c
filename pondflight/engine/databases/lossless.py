"""Values that DuckDB's extensions would change between a server and its users.

They read a PostgreSQL numeric that has no precision as DOUBLE, its NaN as 0, and a timestamp
beyond DuckDB's last one as one long before Christ; MySQL's wide decimals go through DOUBLE as well,
and so does what is written to such columns. So each statement's plan is asked which columns it
reads, and the server whether a value in them would be changed. If so, the statement is refused, and
told why.

What was asked is remembered for as long as the answer took, many times over: a small table is asked
each time, a large one seldom.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from pondflight.dsn import MYSQL, POSTGRES
from pondflight.engine.databases import mysqlcolumns, postgrescolumns
from pondflight.engine.databases.columns import Column, Doubt
from pondflight.engine.databases.fixed import TEXT_PROTOCOL
from pondflight.engine.duck import literal
from pondflight.engine.sql.lexer import tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values
from pondflight.errors import NotSupported

OFF = f"SET SESSION {TEXT_PROTOCOL} = false"
"""How a cursor is left for whatever runs on it next."""

_PLANNED = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "COPY", "CREATE", "EXECUTE"}
)
_SYSTEMS = {POSTGRES: postgrescolumns, MYSQL: mysqlcolumns}
_SCANS = {"POSTGRES_SCAN": POSTGRES, "MYSQL_SCAN": MYSQL}
_PIVOTS = frozenset({"pivot", "pivot_wider"})
_DOUBLE_HOLDS_BITS = 32
_VALID_TIMES_LONGER = 100.0
"""An answer that took a second is good for so many."""

_ADVICE = (
    "; the administrator can give the column a precision and scale, or let it be read and written "
    "with the loss (exact: false of the database)"
)


@dataclass(frozen=True, slots=True)
class Server:
    """An attached database of a server."""

    alias: str
    system: str


@dataclass(frozen=True, slots=True)
class _Use:
    """What a statement does with the tables of one system that have that name.

    ``columns``: the names of those that it reads; ``None``: nobody knows.
    """

    system: str
    table: str
    columns: frozenset[str] | None
    writes: bool


class Lossless:
    """Looks at each statement of one worker."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, Doubt], tuple[bool, float]] = {}

    def concerns(self, statement: Statement) -> bool:
        """Whether such a statement can read or write anything at a server."""
        return statement.effect in _PLANNED and statement.kind != "PREPARE"

    def begin(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        values: Values,
        servers: Sequence[Server],
    ) -> None:
        """Look at ``statement``, which is about to run on ``cursor``.

        ``servers``: the databases that are attached now. Whatever comes of it, ``OFF`` has to be
        run before anything else runs there. Raises ``NotSupported`` if it would read or write a
        value as another one.
        """
        uses = list(_uses(cursor, statement, values))
        for server in servers:
            mine = [use for use in uses if use.system == server.system]
            if mine:
                self._look(cursor, server, mine, statement.text)

    def _look(
        self, cursor: duckdb.DuckDBPyConnection, server: Server, uses: list[_Use], text: str
    ) -> None:
        system = _SYSTEMS[server.system]
        names = sorted({use.table for use in uses})
        columns = list(system.columns(_rows(cursor, server, system.listed(names))))
        read: list[Column] = []
        for use in uses:
            for column in columns:
                if column.table.lower() != use.table.lower():
                    continue
                if use.writes and column.written_as_double and _may_set(text, column.name):
                    raise _written_as_double(server, column)
                if use.columns is None or column.name in use.columns:
                    read.append(column)
        self._read(cursor, server, read)

    def _read(
        self, cursor: duckdb.DuckDBPyConnection, server: Server, columns: list[Column]
    ) -> None:
        as_text: Column | None = None
        doubted = {column: column.doubts for column in columns if column.doubts}
        answers = self._ask(cursor, server, doubted)
        for column, doubts in doubted.items():
            for doubt in doubts:
                if not answers[column, doubt]:
                    continue
                if not doubt.text_helps:
                    raise NotSupported(
                        f"the column {_place(server, column)} is {column.type}, and has "
                        f"{doubt.reason}{_ADVICE}"
                    )
                as_text = column
        if as_text is None:
            return
        unfit = [column for column in columns if not column.plain]
        if unfit:
            raise NotSupported(
                f"the column {_place(server, as_text)} is {as_text.type}, and has values that can "
                f"only be read in a statement without {_place(server, unfit[0])} ({unfit[0].type})"
            )
        cursor.execute(f"SET SESSION {TEXT_PROTOCOL} = true")

    def _ask(
        self,
        cursor: duckdb.DuckDBPyConnection,
        server: Server,
        doubted: Mapping[Column, Sequence[Doubt]],
    ) -> dict[tuple[Column, Doubt], bool]:
        """Whether there are such values."""
        now = time.monotonic()
        answers: dict[tuple[Column, Doubt], bool] = {}
        asked: dict[str, list[tuple[Column, Doubt]]] = {}
        for column, doubts in doubted.items():
            for doubt in doubts:
                known = self._answers.get((server.alias, column.source, doubt))
                if known is not None and known[1] > now:
                    answers[column, doubt] = known[0]
                else:
                    asked.setdefault(column.source, []).append((column, doubt))
        for source, pairs in asked.items():
            terms = ", ".join(
                f"max(CASE WHEN {d.sql} THEN 1 END) AS c{i}" for i, (_, d) in enumerate(pairs)
            )
            begin = time.monotonic()
            (row,) = _rows(cursor, server, f"SELECT {terms} FROM {source}")
            end = time.monotonic()
            until = end + (end - begin) * _VALID_TIMES_LONGER
            for (column, doubt), found in zip(pairs, row, strict=True):
                answers[column, doubt] = bool(found)
                self._answers[server.alias, source, doubt] = (bool(found), until)
        return answers


def check_append(
    cursor: duckdb.DuckDBPyConnection,
    servers: Sequence[Server],
    table: Sequence[str],
    rows: pa.Schema,
) -> None:
    """Look at ``rows`` that are about to be loaded into ``table``, the parts of its whole name.

    Raises ``NotSupported`` if they would be written as other values.
    """
    wide = {field.name.lower() for field in rows if not _fits_double(field.type)}
    for server in servers:
        if server.alias.lower() != table[0].lower():
            continue
        system = _SYSTEMS[server.system]
        for column in system.columns(_rows(cursor, server, system.listed([table[-1]]))):
            if column.written_as_double and column.name.lower() in wide:
                raise _written_as_double(server, column)


def _fits_double(kind: pa.DataType) -> bool:
    """Whether a DOUBLE holds all values of an Arrow type."""
    if pa.types.is_integer(kind):
        return bool(kind.bit_width <= _DOUBLE_HOLDS_BITS)
    return bool(pa.types.is_floating(kind) or pa.types.is_null(kind))


def _written_as_double(server: Server, column: Column) -> NotSupported:
    return NotSupported(
        f"the column {_place(server, column)} is {column.type}, and would be written as DOUBLE, "
        f"which has 15 digits{_ADVICE}"
    )


def _rows(cursor: duckdb.DuckDBPyConnection, server: Server, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query that the server runs."""
    function = "postgres_query" if server.system == POSTGRES else "mysql_query"
    return cursor.execute(
        f"FROM system.main.{function}({literal(server.alias)}, {literal(query)})"
    ).fetchall()


def _uses(
    cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values
) -> Iterator[_Use]:
    plan = _plan(cursor, statement, values)
    if plan is None:
        names = _names(statement.planned)
        for system in (POSTGRES, MYSQL):
            yield from (_Use(system, name, None, writes=False) for name in names)
        return
    nodes = list(_nodes(plan))
    merges = any(node["name"] == "MERGE_INTO" for node in nodes)
    for node in nodes:
        name, details = node["name"], node["extra_info"]
        if name in _SCANS:
            yield _Use(_SCANS[name], details["Table"], _projected(details), writes=merges)
        elif "Table Name" in details and name != "PG_CREATE_TABLE_AS":
            for system in (POSTGRES, MYSQL):
                yield _Use(system, details["Table Name"], frozenset(), writes="DELETE" not in name)


def _plan(cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values) -> Any:
    """The plan; ``None`` where there is none to be seen, or not all of it."""
    if not _PIVOTS.isdisjoint(token.text for token in tokenize(statement.planned)):
        return None  # it runs as several statements
    try:
        row = cursor.execute(f"EXPLAIN (FORMAT json) {statement.planned}", values).fetchone()
        return json.loads(row[1]) if row else None
    except (duckdb.Error, ValueError):  # what is wrong with it will be said when it runs
        return None


def _names(text: str) -> set[str]:
    """All that may be the name of a table, as it is written."""
    data = text.encode()
    words = {data[token.start : token.end].decode() for token in tokenize(text)}
    return {_name(word) for word in words if word.isidentifier() or word.startswith('"')}


def _projected(details: Mapping[str, Any]) -> frozenset[str] | None:
    """The columns of a scan; ``None`` if what comes back is computed at the server."""
    names = details.get("Projections", "")
    names = [names] if isinstance(names, str) else names
    return None if any(name.startswith("_agg_") for name in names) else frozenset(names)


def _nodes(plan: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in plan:
        yield node
        yield from _nodes(node["children"])


def _may_set(text: str, column: str) -> bool:
    """Whether an INSERT, UPDATE or MERGE may give that column a value."""
    tokens = list(tokenize(text))
    if any(_name(token.text) == column.lower() for token in tokens):
        return True
    first = next(iter(tokens), None)
    if first is None or first.keyword != "insert":
        return first is None or first.keyword != "update"
    for token in tokens:
        if token.keyword in {"values", "select", "with", "from", "by"}:
            return True  # no list of columns before it
        if token.text == "(":
            return False
    return True


def _name(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _place(server: Server, column: Column) -> str:
    schema = f"{column.schema}." if server.system == POSTGRES else ""
    return f"{column.name} of {server.alias}.{schema}{column.table}"
