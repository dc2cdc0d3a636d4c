"""A query's tables of MySQL, narrowed to the rows that it needs.

DuckDB's extension may send MySQL no filter (``fixed``). Where a plan shows that a query needs few
of a table's rows, the table is replaced in the query's text by a query of our own for MySQL, with
what ``conditions`` makes of the filter. DuckDB still applies the whole of it. A query that is not
understood stays as it is, and DuckDB reads whole tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pondflight.engine.databases.conditions import Condition, any_of, condition
from pondflight.engine.databases.mysql_columns import Columns, MysqlColumns, Table
from pondflight.engine.duck import literal, quote
from pondflight.engine.sql.lexer import Token, tokenize
from pondflight.engine.sql.statement import Statement

Node = Mapping[str, Any]
"""Of a plan, or of a parsed query."""

_SCAN = "MYSQL_SCAN"
_QUERY_WORDS = frozenset({"select", "with", "from"})
_OF_THE_MOMENT = frozenset(
    {
        "current_date",
        "current_time",
        "current_timestamp",
        "get_current_time",
        "get_current_timestamp",
        "localtime",
        "localtimestamp",
        "now",
        "today",
        "transaction_timestamp",
        "txid_current",
    }
)
"""What is another constant in the plan than when the query is run, and then a larger one."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """Where a query reads a table, in bytes; ``label`` is its alias, or its own name."""

    table: Table
    start: int
    end: int
    label: str
    is_named: bool
    renames: bool


@dataclass(slots=True)
class _Query:
    """What was found in a parsed query."""

    tables: list[Node] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    takes_all: bool = False


class Narrowing:
    """Narrows the tables of one worker's queries."""

    def __init__(self, columns: MysqlColumns) -> None:
        self._columns = columns

    def narrowed(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        text: str,
        plan: list[Node],
        *,
        in_transaction: bool,
    ) -> str:
        """``text``, the query of ``statement``, to be run in its place; maybe itself.

        It may fail where ``text`` would not, with a ``duckdb.BinderException``.
        """
        filters = list(_filtered(plan))
        if not any(expression for _, expression in filters):
            return text
        start = _query_start(statement, text)
        parsed = None if start is None else _parsed(cursor, text, start)
        if start is None or parsed is None:
            return text
        lower_only = _of_the_moment(cursor, text)
        scans = len(filters)
        data = text.encode()
        for reference in sorted(
            _references(cursor, parsed, text, start), key=lambda one: one.start, reverse=True
        ):
            columns = self._columns.of(cursor, reference.table)
            if columns is None:
                continue
            found = any_of(
                [
                    condition(expression, columns.literals, lower_only=lower_only)
                    for name, expression in filters
                    if name == reference.table.name
                ]
                or [None]
            )
            alone = scans == 1 and not in_transaction
            if found is None or not (alone or found.exact):
                continue
            inner = _replacement(reference, columns, parsed, found, alone=alone)
            data = data[: reference.start] + inner.encode() + data[reference.end :]
        return data.decode()


def _filtered(plan: list[Node], above: str = "") -> Iterator[tuple[str, str]]:
    """For each scan of MySQL in a plan the table's name, and the filter right above, if any."""
    for node in plan:
        expression = ""
        if node["name"] == "FILTER" and len(node["children"]) == 1:
            expression = whole(node["extra_info"].get("Expression", ""))
        if node["name"] == _SCAN:
            yield whole(node["extra_info"].get("Table", "")), above
        yield from _filtered(node["children"], expression)


def whole(value: str | list[str]) -> str:
    """What DuckDB splits at line ends."""
    return value if isinstance(value, str) else "\n".join(value)


def _query_start(statement: Statement, text: str) -> int | None:
    """Where in ``text`` the query begins, in bytes."""
    if statement.kind == "SELECT":
        return 0
    tokens = [token for token in tokenize(text) if not token.depth]
    words = [token.keyword for token in tokens]
    creates = statement.kind == "CREATE" and "table" in words[:4]
    if not (creates or statement.kind == "INSERT"):
        return None
    return next((token.start for token in tokens if token.keyword in _QUERY_WORDS), None)


def _parsed(cursor: duckdb.DuckDBPyConnection, text: str, start: int) -> _Query | None:
    query = text.encode()[start:].decode()
    row = cursor.execute("SELECT system.main.json_serialize_sql(?)", [query]).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if tree["error"] or len(tree["statements"]) != 1:
        return None
    found = _Query()
    _walk(tree["statements"][0], found)
    return found


def _walk(node: object, found: _Query) -> None:
    if isinstance(node, list):
        for child in node:
            _walk(child, found)
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind == "BASE_TABLE":
        found.tables.append(node)
    elif kind == "COLUMN_REF":
        found.names.update(name.lower() for name in node["column_names"])
    elif kind in ("STAR", "PIVOT") or node.get("ref_type") == "NATURAL":
        found.takes_all = True
    found.names.update(name.lower() for name in node.get("using_columns") or ())
    if isinstance(node.get("cte_map"), dict):
        found.defined.update(entry["key"].lower() for entry in node["cte_map"]["map"])
    for child in node.values():
        _walk(child, found)


def _of_the_moment(cursor: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Whether the query may have such a constant; any macro may."""
    if any(token.text.strip('"') in _OF_THE_MOMENT for token in tokenize(text)):
        return True
    return bool(
        cursor.execute(
            "SELECT 1 FROM system.main.duckdb_functions()"
            " WHERE NOT internal AND function_type IN ('macro', 'table_macro') LIMIT 1"
        ).fetchone()
    )


def _references(
    cursor: duckdb.DuckDBPyConnection, query: _Query, text: str, start: int
) -> Iterator[_Reference]:
    aliases = {
        alias.lower(): alias
        for (alias,) in cursor.execute(
            "SELECT database_name FROM system.main.duckdb_databases() WHERE type = 'mysql'"
        ).fetchall()
    }
    tokens = list(tokenize(text))
    for node in query.tables:
        table = _named(node, aliases)
        if table is None or node["sample"] or node["at_clause"]:
            continue
        first = start + node["query_location"]
        parts = sum(bool(node[part]) for part in ("catalog_name", "schema_name", "table_name"))
        end = _end_of_name(tokens, first, parts)
        if end is not None:
            yield _Reference(
                table,
                first,
                end,
                label=node["alias"] or node["table_name"],
                is_named=bool(node["alias"]),
                renames=bool(node["column_name_alias"]),
            )


def _named(node: Node, aliases: Mapping[str, str]) -> Table | None:
    """The table that is meant. An unqualified name may be anything's: it is left alone."""
    catalog, schema, name = node["catalog_name"], node["schema_name"], node["table_name"]
    if not catalog:
        catalog, schema = schema, ""
    alias = aliases.get(catalog.lower())
    return None if alias is None else Table(alias, schema, name)


def _end_of_name(tokens: list[Token], start: int, parts: int) -> int | None:
    """Where the name ends that begins at ``start``, in bytes."""
    for index, token in enumerate(tokens):
        if token.start == start:
            name = tokens[index : index + 2 * parts - 1]
            dots = [token.text for token in name[1::2]]
            return name[-1].end if dots == ["."] * (parts - 1) else None
    return None


def _replacement(
    reference: _Reference, columns: Columns, query: _Query, found: Condition, *, alone: bool
) -> str:
    """The query that stands for the table.

    ``alone``: it streams from a connection of its own. Else it belongs to the transaction, and its
    rows are all fetched before the first is used.
    """
    table = reference.table
    whole_rows = query.takes_all or reference.renames or reference.label.lower() in query.names
    names = [name for name in columns.types if whole_rows or name.lower() in query.names]
    names = names or list(columns.types)[:1]
    schema = f"`{table.schema}`." if table.schema else ""
    sql = (
        f"SELECT {', '.join(f'`{name}`' for name in names)} FROM {schema}`{table.name}`"
        f" WHERE {found.sql}"
    )
    casts = ", ".join(
        f"CAST({quote(name)} AS {columns.types[name]}) AS {quote(name)}" for name in names
    )
    label = "" if reference.is_named else f" AS {quote(reference.label)}"
    streams = str(alone).lower()
    return (
        f"(SELECT {casts} FROM system.main.mysql_query({literal(table.alias)}, {literal(sql)},"
        f" stream_results := {streams})){label}"
    )
