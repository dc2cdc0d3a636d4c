"""Refuses values that DuckDB's extensions would change between a server and its users.

They read a PostgreSQL numeric without a precision as DOUBLE, its NaN as 0, and a timestamp after
DuckDB's last one as one long before Christ. MySQL's wide decimals go through DOUBLE too, and so
does what is written to such columns.

So a statement's plan is asked which columns it reads from which rows, and the server is asked
whether any value among them would be changed. If so, the statement is refused with the reason. The
server answers in the transaction in which the statement runs, so no value can come in between. The
answer is reused while the server's snapshot is the same, since nothing was written there meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from pondflight.dsn import MYSQL, POSTGRES
from pondflight.engine.databases import mysql_columns, postgres_columns
from pondflight.engine.databases.changes import made_of
from pondflight.engine.databases.columns import Column, Doubt
from pondflight.engine.databases.conditions import (
    Condition,
    any_of,
    both,
    condition,
    plain,
    pushed_condition,
)
from pondflight.engine.databases.fixed import TEXT_PROTOCOL
from pondflight.engine.databases.queryplan import PLANNED, QueryPlan, Scan
from pondflight.engine.duck import literal
from pondflight.engine.sql.lexer import tokenize
from pondflight.engine.sql.statement import Statement
from pondflight.engine.types.parameters import Values
from pondflight.errors import NotSupported

OFF = f"SET SESSION {TEXT_PROTOCOL} = false"
"""Resets a cursor for whatever runs on it next."""

_SYSTEMS = {POSTGRES: postgres_columns, MYSQL: mysql_columns}
_MAKES_TABLES = frozenset({"PG_CREATE_TABLE_AS", "MYSQL_CREATE_TABLE_AS"})
_MADE_AS_DOUBLE = frozenset({"HUGEINT", "UHUGEINT"})
_DOUBLE_HOLDS_BITS = 32
_MOST_ANSWERS = 4096
_MISWRITTEN = frozenset("`\\")
"""Characters that the extension escapes in names with a backslash, which MySQL reads literally."""

_ADVICE = (
    "; the administrator can give the column a precision and scale, make a view that casts it "
    "(duckdb.init_sql), or let it be read and written with the loss (exact: false of the database)"
)


@dataclass(frozen=True, slots=True)
class Server:
    """An attached database of a server.

    ``exact``: its values must not be changed. ``twins``: names of tables, in lower case, that
    are equal to DuckDB. ``writable``: it is attached for writing.
    """

    alias: str
    system: str
    exact: bool = True
    twins: frozenset[str] = frozenset()
    writable: bool = False


@dataclass(frozen=True, slots=True)
class _Use:
    """What a statement does with the tables of one system that have this name.

    ``columns`` are the names of those that it reads; ``None``: not known. ``scan`` tells which
    rows; ``None``: any.
    """

    system: str
    table: str
    columns: frozenset[str] | None
    writes: bool
    scan: Scan | None = None


class Lossless:
    """Checks each statement of one worker."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], tuple[str, bool]] = {}

    def concerns(self, statement: Statement) -> bool:
        """Return whether such a statement can read or write anything at a server."""
        return statement.effect in PLANNED and statement.kind != "PREPARE"

    def begin(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        values: Values,
        plan: QueryPlan,
        servers: Sequence[Server],
        *,
        may_have_written: bool,
    ) -> frozenset[str]:
        """Check ``statement``, which is about to run on ``cursor``, in the transaction there.

        ``servers`` are the databases that are attached now. ``may_have_written``: that transaction
        has run other statements. Run ``OFF`` afterwards, also if this fails, before anything else
        runs there.

        Returns the systems from which the statement must read in that transaction. Raises
        ``NotSupported`` if it would change a value while reading or writing.
        """
        makes = any(node["name"].strip() in _MAKES_TABLES for node in plan.nodes())
        if makes and any(server.exact for server in servers):
            _check_made(cursor, statement, values)
        uses = list(_uses(plan, statement))
        bound: set[str] = set()
        for server in servers:
            mine = [use for use in uses if use.system == server.system]
            _check_names(server, mine)
            if mine and server.exact:
                read = self._look(cursor, server, mine, statement.text)
                self._read(cursor, server, read, reuse=not may_have_written)
                bound.update([server.system] if read else [])
        return frozenset(bound)

    def _look(
        self, cursor: duckdb.DuckDBPyConnection, server: Server, uses: list[_Use], text: str
    ) -> list[tuple[Column, Condition | None]]:
        """Return the columns that are read, and the rows at most; ``None``: all rows."""
        system = _SYSTEMS[server.system]
        names = sorted({use.table for use in uses})
        tables: dict[str, list[Column]] = {}
        for column in system.columns(_rows(cursor, server, system.listed(names))):
            tables.setdefault(column.source, []).append(column)
        found: list[tuple[Column, Condition | None]] = []
        for columns in tables.values():
            mine = [use for use in uses if use.table.lower() == columns[0].table.lower()]
            rows = any_of([_needed(use, columns, system.quoted) for use in mine if not use.writes])
            for column in columns:
                writes = any(use.writes for use in mine)
                if writes and column.written_as_double and _may_set(text, column.name):
                    raise _written_as_double(server, column)
                if any(use.columns is None or column.name in use.columns for use in mine):
                    found.append((column, rows))
        return found

    def _read(
        self,
        cursor: duckdb.DuckDBPyConnection,
        server: Server,
        read: list[tuple[Column, Condition | None]],
        *,
        reuse: bool,
    ) -> None:
        as_text: Column | None = None
        for column, doubt in self._found(cursor, server, read, reuse=reuse):
            if not doubt.text_helps:
                raise NotSupported(
                    f"the column {_place(server, column)} is {column.type}, and has "
                    f"{doubt.reason}{_ADVICE}"
                )
            as_text = column
        if as_text is None:
            return
        unfit = [column for column, _ in read if not column.plain]
        if unfit:
            raise NotSupported(
                f"the column {_place(server, as_text)} is {as_text.type}, and has values that can "
                f"only be read in a statement without {_place(server, unfit[0])} ({unfit[0].type})"
            )
        cursor.execute(f"SET SESSION {TEXT_PROTOCOL} = true")

    def _found(
        self,
        cursor: duckdb.DuckDBPyConnection,
        server: Server,
        read: list[tuple[Column, Condition | None]],
        *,
        reuse: bool,
    ) -> Iterator[tuple[Column, Doubt]]:
        """Yield the columns with doubtful values among the rows that are read, and the doubt."""
        answers: dict[tuple[Column, Doubt], bool] = {}
        asked: dict[str, list[tuple[Column, Doubt]]] = {}
        for column, rows in read:
            where = f"{column.source} WHERE {rows.sql}" if rows else column.source
            for doubt in column.doubts:
                known = self._answers.get((server.alias, where, doubt.sql)) if reuse else None
                if known is not None and known[0] == column.state:
                    answers[column, doubt] = known[1]
                else:
                    asked.setdefault(where, []).append((column, doubt))
        for where, pairs in asked.items():
            terms = ", ".join(
                f"max(CASE WHEN {d.sql} THEN 1 END) AS c{i}" for i, (_, d) in enumerate(pairs)
            )
            (row,) = _rows(cursor, server, f"SELECT {terms} FROM {where}")
            for (column, doubt), found in zip(pairs, map(bool, row), strict=True):
                answers[column, doubt] = found
                if reuse and column.state is not None:
                    self._remember((server.alias, where, doubt.sql), (column.state, found))
        for column, _ in read:
            yield from ((column, doubt) for doubt in column.doubts if answers[column, doubt])

    def _remember(self, question: tuple[str, str, str], answer: tuple[str, bool]) -> None:
        if len(self._answers) >= _MOST_ANSWERS:
            self._answers.clear()
        self._answers[question] = answer


def _check_names(server: Server, uses: Sequence[_Use]) -> None:
    for use in uses:
        if use.table.lower() in server.twins:
            raise NotSupported(
                f"{server.alias} has tables whose names differ from {use.table} only by case or "
                "accents, and DuckDB takes one for the other: the administrator can rename them"
            )
        for name in (use.table, *(use.columns or ())):
            if server.system == MYSQL and not _MISWRITTEN.isdisjoint(name):
                raise NotSupported(
                    f"the name {name} in {server.alias} has a ` or a backslash, which cannot be "
                    "sent to MySQL safely: the administrator can make a view with other names there"
                )


def _needed(use: _Use, columns: Sequence[Column], quoted: Callable[[str], str]) -> Condition | None:
    """Return which rows a statement reads of a table with those columns; ``None``: all.

    A filter on a doubtful column would let other rows through at the server.
    """
    if use.scan is None or not all(plain(column.name) for column in columns):
        return None
    literals = {
        column.name: column.literal
        for column in columns
        if column.literal is not None and not column.doubts
    }
    return both(
        pushed_condition(use.scan.pushed, literals, quoted=quoted),
        condition(use.scan.filter, literals, quoted=quoted),
    )


def check_append(
    cursor: duckdb.DuckDBPyConnection,
    servers: Sequence[Server],
    table: Sequence[str],
    rows: pa.Schema,
) -> None:
    """Check ``rows`` before they are loaded into ``table``, a whole name in parts.

    Raises ``NotSupported`` if their values would change on the way.
    """
    wide = {field.name.lower() for field in rows if not _fits_double(field.type)}
    for server in servers:
        if server.alias.lower() != table[0].lower() or not server.exact:
            continue
        system = _SYSTEMS[server.system]
        for column in system.columns(_rows(cursor, server, system.listed([table[-1]]))):
            if column.written_as_double and column.name.lower() in wide:
                raise _written_as_double(server, column)


def _check_made(cursor: duckdb.DuckDBPyConnection, statement: Statement, values: Values) -> None:
    """Check the columns of the query from which a server's table is created."""
    for name, kind in made_of(cursor, statement.planned, values):
        if str(kind) in _MADE_AS_DOUBLE:
            raise NotSupported(
                f"the column {name} of the new table is {kind}, as sums of integers are, and would "
                "be written as DOUBLE, which has 15 digits; cast it to BIGINT or DECIMAL(38, 0)"
            )


def _fits_double(kind: pa.DataType) -> bool:
    """Return whether a DOUBLE holds all values of an Arrow type."""
    if pa.types.is_integer(kind):
        return bool(kind.bit_width <= _DOUBLE_HOLDS_BITS)
    return bool(pa.types.is_floating(kind) or pa.types.is_null(kind))


def _written_as_double(server: Server, column: Column) -> NotSupported:
    return NotSupported(
        f"the column {_place(server, column)} is {column.type}, and would be written as DOUBLE, "
        f"which has 15 digits{_ADVICE}"
    )


def _rows(
    cursor: duckdb.DuckDBPyConnection, server: Server, query: str
) -> list[tuple[object, ...]]:
    """Return the rows of a query that the server runs."""
    function = "postgres_query" if server.system == POSTGRES else "mysql_query"
    return cursor.execute(
        f"FROM system.main.{function}({literal(server.alias)}, {literal(query)})"
    ).fetchall()


def _uses(plan: QueryPlan, statement: Statement) -> Iterator[_Use]:
    if not plan.is_whole:
        names = _names(statement.planned)
        for system in (POSTGRES, MYSQL):
            yield from (_Use(system, name, None, writes=False) for name in names)
        return
    nodes = list(plan.nodes())
    merges = any(node["name"] == "MERGE_INTO" for node in nodes)
    for scan in plan.scans():
        yield _Use(scan.system, scan.table, scan.columns, writes=False, scan=scan)
        if merges:
            yield _Use(scan.system, scan.table, frozenset(), writes=True)
    for node in nodes:
        name, details = node["name"], node["extra_info"]
        if "Table Name" in details and name != "PG_CREATE_TABLE_AS":
            for system in (POSTGRES, MYSQL):
                yield _Use(system, details["Table Name"], frozenset(), writes="DELETE" not in name)


def _names(text: str) -> set[str]:
    """Return every word in the text that may be the name of a table."""
    data = text.encode()
    words = {data[token.start : token.end].decode() for token in tokenize(text)}
    return {_name(word) for word in words if word.isidentifier() or word.startswith('"')}


def _may_set(text: str, column: str) -> bool:
    """Return whether an INSERT, UPDATE or MERGE may give that column a value."""
    tokens = list(tokenize(text))
    if any(_name(token.text) == column.lower() for token in tokens):
        return True
    first = next(iter(tokens), None)
    if first is None or first.keyword != "insert":
        return first is None or first.keyword != "update"
    for token in tokens:
        if token.keyword in {"values", "select", "with", "from", "by"}:
            return True  # there is no list of columns before it
        if token.text == "(":
            return False
    return True


def _name(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _place(server: Server, column: Column) -> str:
    schema = f"{column.schema}." if server.system == POSTGRES else ""
    return f"{column.name} of {server.alias}.{schema}{column.table}"
