"""Narrows a query's MySQL tables to the rows that it needs.

DuckDB's extension must not send MySQL any filter (``fixed``). If a plan shows that a query needs
few rows of a table, the table in the query's text is replaced by a query of our own for MySQL, with
the condition that ``conditions`` makes of the filter. DuckDB still applies the whole filter. A
query that is not understood stays as it is, and DuckDB reads whole tables. The first rows by a
number are narrowed in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import duckdb

from pondflight.control import Json
from pondflight.dsn import MYSQL
from pondflight.engine.databases.conditions import any_of, condition, is_number
from pondflight.engine.databases.mysql_columns import Columns, MysqlColumns, Table
from pondflight.engine.databases.queryplan import Node, QueryPlan, Scan
from pondflight.engine.duck import literal, quote
from pondflight.engine.sql.lexer import Token, tokenize
from pondflight.engine.sql.statement import Statement

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
"""Functions whose value may be larger when the query runs than in the plan."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """Where a query reads a table, in bytes; ``label`` is its alias, or else its own name."""

    table: Table
    start: int
    end: int
    label: str
    is_named: bool
    renames: bool


@dataclass(slots=True)
class _Query:
    """What was found in a parsed query.

    ``untouched``: tables in a column that is named after its text. ``names``: the parts of column
    names; ``bare``: the unqualified ones. ``defined``: names of CTEs. ``takes_all``: columns are
    used without being named.
    """

    tables: list[Node] = field(default_factory=list)
    untouched: list[Node] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    takes_all: bool = False


class Narrowing:
    """Narrows the tables in one worker's queries."""

    def __init__(self, columns: MysqlColumns) -> None:
        self._columns = columns
        self._functions: frozenset[str] = frozenset()

    def narrowed(
        self,
        cursor: duckdb.DuckDBPyConnection,
        statement: Statement,
        plan: QueryPlan,
        *,
        in_transaction: bool,
    ) -> str:
        """Return the text to run in place of ``statement``'s, possibly the same.

        It may fail with a ``duckdb.BinderException`` where the original would not.
        """
        text = statement.text
        scans = list(plan.scans(MYSQL))
        start = _query_start(statement) if any(one.filter or one.top for one in scans) else None
        query = None if start is None else _parsed(cursor, text, start)
        if start is None or query is None:
            return text
        attached = _attached(cursor)
        lower_only = self._is_of_the_moment(cursor, text, query, attached)
        streams = len(scans) == 1 and not in_transaction
        data = text.encode()
        of_mysql = {name: alias for name, (alias, kind) in attached.items() if kind == "mysql"}
        tables = {one.table for one in scans}
        references = _references(cursor, query, text, start, of_mysql, tables)
        for reference in sorted(references, key=lambda one: one.start, reverse=True):
            columns = self._columns.of(cursor, reference.table)
            if columns is None:
                continue
            found = any_of(
                [
                    condition(one.filter, columns.literals, lower_only=lower_only)
                    for one in scans
                    if one.table == reference.table.name
                ]
            )
            if found is None:
                first = _first(scans, columns) if len(references) == 1 else None
                if first is None:
                    continue
                rest, few = first, True
            else:
                rest, few = f"WHERE {found.sql}", found.exact
            sql = _asked(reference, columns, query, rest)
            # Rows that belong to the transaction are all fetched before the first is used; with
            # several tables, the extension itself does so.
            fits = streams or few or len(scans) > 1
            if fits or self._columns.are_few(cursor, reference.table, sql):
                inner = _replacement(reference, columns, sql, streams=streams)
                data = data[: reference.start] + inner.encode() + data[reference.end :]
        narrowed = data.decode()
        return text if narrowed == text else narrowed

    def _is_of_the_moment(
        self,
        cursor: duckdb.DuckDBPyConnection,
        text: str,
        query: _Query,
        attached: Mapping[str, tuple[str, str]],
    ) -> bool:
        """Return whether a filter may have another constant when the query runs than now."""
        if not self._functions:
            with cursor.cursor() as another:
                found = another.execute(
                    "SELECT DISTINCT function_name FROM system.main.duckdb_functions()"
                    " WHERE internal"
                ).fetchall()
            self._functions = frozenset(name for (name,) in found)
        if not query.functions <= self._functions:  # the text of a macro is not known
            return True
        if not _words(text).isdisjoint(_OF_THE_MOMENT):
            return True
        tables = [*query.tables, *query.untouched]
        return not all(
            _is_whole_table(cursor, node)
            for node in tables
            if _may_be_view(node, query.defined, attached)
        )


def _attached(cursor: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str]]:
    """Return the databases by their names in lower case: their names and systems."""
    found = cursor.execute(
        "SELECT lower(database_name), database_name, type FROM system.main.duckdb_databases()"
    ).fetchall()
    return {name: (alias, kind) for name, alias, kind in found}


def _may_be_view(
    node: Node, defined: Collection[str], attached: Mapping[str, tuple[str, str]]
) -> bool:
    """Return whether a table of a query may be a DuckDB view; servers' objects are tables to it."""
    first = (node["catalog_name"] or node["schema_name"]).lower()
    if not first:
        return node["table_name"].lower() not in defined
    return attached.get(first, ("", "duckdb"))[1] not in ("mysql", "postgres")


def _is_whole_table(cursor: duckdb.DuckDBPyConnection, node: Node) -> bool:
    """Return whether it is a DuckDB table, or a view of everything in one."""
    parts = (node["catalog_name"], node["schema_name"], node["table_name"])
    name = ".".join(map(quote, filter(None, parts)))
    with suppress(duckdb.BinderException, duckdb.CatalogException):
        row = cursor.execute(f"EXPLAIN (FORMAT json) FROM {name}").fetchone()
        plan: list[Node] = json.loads(row[1]) if row else []
        names = [node["name"].strip() for node in plan]
        return names == ["SEQ_SCAN"] and "Filters" not in plan[0]["extra_info"]
    return False


def _words(text: str) -> set[str]:
    return {token.text.strip('"') for token in tokenize(text)}


def _query_start(statement: Statement) -> int | None:
    """Return where a query begins in the text of ``statement``, in bytes; None: nowhere."""
    text = statement.text
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
    tree: Json = json.loads(row[0]) if row else {"error": True}
    if tree["error"] or len(tree["statements"]) != 1:
        return None
    found = _Query()
    _walk(tree["statements"][0], found)
    return found


def _walk(node: object, found: _Query, *, named: bool = True) -> None:
    """Note what is in a part of a query; ``named``: no column is named after its text."""
    if isinstance(node, list):
        for child in node:
            _walk(child, found, named=named)
    elif isinstance(node, dict):
        _note(node, found, named=named)
        for key, child in node.items():
            if key != "select_list":
                _walk(child, found, named=named)
        for column in node.get("select_list") or ():
            _walk(column, found, named=named and bool(column["alias"]))


def _note(node: Node, found: _Query, *, named: bool) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        (found.tables if named else found.untouched).append(node)
    elif kind == "FUNCTION":
        found.functions.add(node["function_name"])
    elif kind == "COLUMN_REF":
        names = [name.lower() for name in node["column_names"]]
        found.names.update(names)
        found.bare.update(names[: len(names) == 1])
    elif kind in ("STAR", "PIVOT") or node.get("ref_type") == "NATURAL":
        found.takes_all = True
    found.names.update(name.lower() for name in node.get("using_columns") or ())
    if isinstance(node.get("cte_map"), dict):
        found.defined.update(entry["key"].lower() for entry in node["cte_map"]["map"])


def _references(
    cursor: duckdb.DuckDBPyConnection,
    query: _Query,
    text: str,
    start: int,
    aliases: Mapping[str, str],
    tables: Collection[str],
) -> list[_Reference]:
    """Return where the query names one of ``tables`` in the MySQL databases with these aliases."""
    tokens = list(tokenize(text))
    found: list[_Reference] = []
    for node in query.tables:
        table = _named(cursor, node, query.defined, aliases)
        same = [name for name in tables if table and name.lower() == table.name.lower()]
        if table is None or len(same) != 1 or node["sample"] or node["at_clause"]:
            continue
        first = start + node["query_location"]
        parts = sum(bool(node[part]) for part in ("catalog_name", "schema_name", "table_name"))
        end = _end_of_name(tokens, first, parts)
        if end is not None:
            found.append(
                _Reference(
                    replace(table, name=same[0]),
                    first,
                    end,
                    label=node["alias"] or node["table_name"],
                    is_named=bool(node["alias"]),
                    renames=bool(node["column_name_alias"]),
                )
            )
    return found


def _named(
    cursor: duckdb.DuckDBPyConnection,
    node: Node,
    defined: Collection[str],
    aliases: Mapping[str, str],
) -> Table | None:
    """Return the MySQL table that the node means, if it means one."""
    catalog, schema, name = node["catalog_name"], node["schema_name"], node["table_name"]
    if not catalog and not schema:
        row = cursor.execute(
            "SELECT system.main.current_database(), system.main.current_schema()"
        ).fetchone()
        if row is None or name.lower() in defined or _is_temporary(cursor, name):
            return None
        catalog, schema = row
    elif not catalog:
        catalog, schema = schema, ""
    alias = aliases.get(catalog.lower())
    return None if alias is None else Table(alias, schema, name)


def _is_temporary(cursor: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Return whether ``name``, unqualified, means a temporary table or view, which come first."""
    with suppress(duckdb.CatalogException):
        cursor.sql(f"FROM temp.main.{quote(name)}")
        return True
    return False


def _end_of_name(tokens: list[Token], start: int, parts: int) -> int | None:
    """Return where the name that begins at ``start`` ends, in bytes."""
    for index, token in enumerate(tokens):
        if token.start == start:
            name = tokens[index : index + 2 * parts - 1]
            dots = [token.text for token in name[1::2]]
            return name[-1].end if dots == ["."] * (parts - 1) else None
    return None


def _first(scans: list[Scan], columns: Columns) -> str | None:
    """Return MySQL's ORDER BY and LIMIT for the first rows, if it sorts as DuckDB does."""
    top = scans[0].top if len(scans) == 1 else None
    if top is None or not all(
        name in columns.required and is_number(columns.literals.get(name)) for name, _ in top.keys
    ):
        return None
    keys = ", ".join(f"`{name}` {direction}" for name, direction in top.keys)
    return f"ORDER BY {keys} LIMIT {top.rows}"


def _asked(reference: _Reference, columns: Columns, query: _Query, rest: str) -> str:
    """Return the query for MySQL; ``rest`` says which rows."""
    table = reference.table
    takes_all = query.takes_all or reference.renames or reference.label.lower() in query.bare
    names = [name for name in columns.types if takes_all or name.lower() in query.names]
    listed = ", ".join(
        f"CONVERT(`{name}` USING utf8mb4) AS `{name}`" if name in columns.binary else f"`{name}`"
        for name in names or list(columns.types)[:1]
    )
    schema = f"`{table.schema}`." if table.schema else ""
    return f"SELECT {listed} FROM {schema}`{table.name}` {rest}"


def _replacement(reference: _Reference, columns: Columns, sql: str, *, streams: bool) -> str:
    """Return the query that replaces the table.

    ``streams``: it runs on a connection of its own, outside of any transaction.
    """
    listed = sql.partition(" FROM ")[0]
    casts = ", ".join(
        f"CAST({quote(name)} AS {kind}) AS {quote(name)}"
        for name, kind in columns.types.items()
        if f"`{name}`" in listed
    )
    label = "" if reference.is_named else f" AS {quote(reference.label)}"
    return (
        f"(SELECT {casts} FROM system.main.mysql_query({literal(reference.table.alias)},"
        f" {literal(sql)}, stream_results := {str(streams).lower()})){label}"
    )
