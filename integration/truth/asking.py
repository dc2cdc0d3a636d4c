"""Queries pondflight, a DuckDB with a copy, and the database itself; compares their rows."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from adbc_driver_flightsql import dbapi
from adbc_driver_manager import Error

from integration.databases.support import NO_LIMITS
from integration.deployment import Deployment
from integration.truth.systems import System
from integration.truth.values import Row, from_json, from_text, rows_of, same, types_of

_SIGNIFICANT = 12
"""Digits of a float in which a database has to agree: each sums in its own order."""


@dataclass(frozen=True)
class Result:
    """Rows and the types of their columns, or the error."""

    rows: Sequence[Row] = ()
    types: Sequence[pa.DataType] = ()
    names: Sequence[str] = ()
    error: str = ""

    @classmethod
    def of(cls, table: pa.Table) -> Result:
        return cls(rows_of(table), types_of(table.schema), table.schema.names)


@dataclass(frozen=True)
class Difference:
    """A difference between two results; ``by`` is how pondflight was asked: Flight SQL, HTTP …"""

    sql: str
    by: str
    against: str
    came: str
    right: str

    def __str__(self) -> str:
        return f"{self.sql}\n  {self.by}: {self.came}\n  {self.against}: {self.right}"


class Pond:
    """A user of pondflight, over Flight SQL and HTTP."""

    def __init__(self, deployment: Deployment, sub: str = "ada") -> None:
        self._deployment = deployment
        self._connection = deployment.connect(sub, autocommit=True)
        self._cursor: dbapi.Cursor = self._connection.cursor()
        self._http = http.client.HTTPConnection("127.0.0.1", deployment.http_port, timeout=60)
        session = "truth-session-0123456789"
        self._headers = {
            "Authorization": f"Bearer {deployment.token(sub)}",
            "Pondflight-Session": session,
        }

    def flight(self, sql: str, values: Sequence[Any] = ()) -> Result:
        """Return the result over Flight SQL."""
        try:
            self._cursor.execute(sql, [_bound(value) for value in values] or None)
            return Result.of(self._cursor.fetch_arrow_table())
        except (Error, UnicodeDecodeError) as error:
            return Result(error=" ".join(str(error).split()))

    def _post(self, sql: str) -> http.client.HTTPResponse:
        headers = self._headers | {"Content-Type": "application/sql"}
        try:
            self._http.request("POST", "/query", sql.encode(), headers)
            return self._http.getresponse()
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            self._http.close()  # it was idle for too long
            self._http.request("POST", "/query", sql.encode(), headers)
            return self._http.getresponse()

    def http(self, sql: str, types: Sequence[pa.DataType]) -> Result:
        """Return the result of POST /query as JSON lines, read as the given types."""
        try:
            response = self._post(sql)
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            return Result(error=f"{type(error).__name__}: {error}")
        if response.status != 200:
            return Result(error=str(json.loads(text).get("detail", text)))
        lines = [json.loads(line, parse_float=Decimal) for line in text.splitlines()]
        rows = [
            tuple(from_json(cell, type_) for cell, type_ in zip(line.values(), types, strict=True))
            for line in lines
        ]
        return Result(rows, types, list(lines[0]) if lines else ())

    def run(self, sql: str) -> str:
        """Run a statement in both sessions, Flight SQL's and HTTP's; return the error, if any."""
        return self.flight(sql).error or self._http_only(sql).error

    def _http_only(self, sql: str) -> Result:
        response = self._post(sql)
        text = response.read().decode()
        return Result(error="" if response.status == 200 else text)

    def close(self) -> None:
        """End the sessions."""
        self._cursor.close()
        self._connection.close()
        self._http.close()


class Local:
    """One DuckDB with a copy of all tables."""

    def __init__(self) -> None:
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        # Otherwise DuckDB passes filters of joins through LIMIT: engine/execution/joinfilters.py.
        self._connection.execute("SET disabled_optimizers = 'join_filter_pushdown'")

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """Return the DuckDB connection."""
        return self._connection

    def ask(self, sql: str, values: Sequence[Any] = ()) -> Result:
        """Return the rows, or the error."""
        try:
            table = self._connection.execute(sql, list(values) or None).to_arrow_table()
            return Result.of(table)
        except duckdb.Error as error:
            return Result(error=" ".join(str(error).split()))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def against_local(
    ours: Result, local: Result, sql: str, by: str, *, ordered: bool, digits: int = 17
) -> Difference | None:
    """Return how pondflight differs from the local DuckDB; two errors may have other words."""
    if bool(ours.error) != bool(local.error):
        return Difference(sql, by, "DuckDB", _shown(ours), _shown(local))
    if ours.error:
        return None
    if by == "Flight SQL" and (list(ours.types) != list(local.types) or ours.names != local.names):
        return Difference(sql, by, "DuckDB", str(ours.types), str(local.types))
    if same(ours.rows, local.rows, ordered=ordered, digits=digits):
        return None
    return Difference(sql, by, "DuckDB", *_unlike(ours, local, ordered=ordered))


def against_client(
    ours: Result, system: System, theirs: str, sql: str, *, ordered: bool
) -> Difference | None:
    """Return how pondflight differs from the database's own client, which runs ``theirs``.

    Raises ``Refused`` if the database does not run it.
    """
    answer = system.ask(theirs)
    rows = [
        tuple(from_text(cell, type_) for cell, type_ in zip(row, ours.types, strict=True))
        for row in answer
    ]
    if same(_looser(ours.rows), _looser(rows), ordered=ordered, digits=_SIGNIFICANT):
        return None
    right = Result(rows, ours.types)
    return Difference(
        f"{sql}\n  as {system.name} was asked: {theirs}",
        "Flight SQL",
        system.name,
        *_unlike(ours, right, ordered=ordered),
    )


@contextmanager
def asked(systems: Sequence[System], folder: Path, **config: Any) -> Iterator[tuple[Pond, Local]]:
    """Yield a pondflight with the systems attached, and an empty local DuckDB."""
    with ExitStack() as ending:
        entries = [system.entry() for system in systems]
        duckdb_config = {"attached_databases": entries, **config}
        deployment = Deployment(folder, {"duckdb": duckdb_config, "security": NO_LIMITS})
        ending.callback(deployment.stop)
        deployment.start()
        pond, local = Pond(deployment), Local()
        ending.callback(pond.close)
        ending.callback(local.close)
        yield pond, local


def _bound(value: Any) -> Any:
    """Return a value as the client binds it: a whole number is at most a BIGINT."""
    is_wide = type(value) is int and value >= 2**63
    return pa.scalar(value, pa.uint64()) if is_wide else value


def _looser(rows: Sequence[Row]) -> list[Row]:
    """Drop zeros after decimals, and make whole decimals ints: sums have other types there."""
    return [
        tuple(_number(cell) if isinstance(cell, Decimal) else cell for cell in row) for row in rows
    ]


def _number(cell: Decimal) -> Any:
    return int(cell) if cell.is_finite() and cell == cell.to_integral_value() else cell.normalize()


def _shown(result: Result, limit: int = 6) -> str:
    if result.error:
        return f"error: {result.error[:400]}"
    more = f" … {len(result.rows)} rows" if len(result.rows) > limit else ""
    return f"{list(result.rows[:limit])}{more}"


def _unlike(ours: Result, right: Result, *, ordered: bool) -> tuple[str, str]:
    """Return the rows that are in only one of two results; all, if only the order differs."""
    mine, theirs = list(map(repr, ours.rows)), list(map(repr, right.rows))
    left, rest = list(theirs), []
    for row in mine:
        if row in left:
            left.remove(row)
        else:
            rest.append(row)
    if not rest and not left:
        rest, left = mine, theirs
    counts = f"{len(mine)} rows", f"{len(theirs)} rows"
    return (
        f"{counts[0]}, alone here: {', '.join(rest[:4])}",
        f"{counts[1]}, alone here: {', '.join(left[:4])}",
    )
