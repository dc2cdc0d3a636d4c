"""Catalogs, schemas and tables, as clients see them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from pondflight.engine.server import EngineServer
from pondflight.flightsql import wire
from tests.engine.conftest import Connect
from tests.flight import Client


@pytest.fixture(name="filled")
def fixture_filled(engine: EngineServer, client: Client, tmp_path: Path) -> Client:
    path = tmp_path / "it's.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE birds (id INTEGER PRIMARY KEY, name VARCHAR)")
        connection.execute("INSERT INTO birds VALUES (1, 'coot')")
    entry = {"alias": "nature", "type": "sqlite", "connection_string": str(path)}
    engine._configure({"databases": [entry]})
    client.info("CREATE TABLE t (i INT NOT NULL, d DECIMAL(10,2), l VARCHAR[])")
    client.info("CREATE SCHEMA other_one; CREATE TABLE other_one.t_x AS SELECT 1 AS i")
    client.info("CREATE VIEW v AS SELECT i FROM t")
    return client


def get(client: Client, name: str, **fields: object) -> list[tuple[object, ...]]:
    return client.rows(wire.pack(wire.new(name, **fields)))


def test_catalogs_hold_the_attached_databases_and_none_of_duckdbs_own(filled: Client) -> None:
    assert get(filled, "CommandGetCatalogs") == [("memory",), ("nature",)]
    filled.info("CREATE TEMP TABLE x (i INT)")
    assert ("temp",) in get(filled, "CommandGetCatalogs")


def test_schemas_by_catalog_and_pattern(filled: Client) -> None:
    assert get(filled, "CommandGetDbSchemas") == [
        ("memory", "main"),
        ("memory", "other_one"),
        ("nature", "main"),
    ]
    found = get(filled, "CommandGetDbSchemas", catalog="memory", db_schema_filter_pattern="o%")
    assert found == [("memory", "other_one")]
    escaped = get(filled, "CommandGetDbSchemas", db_schema_filter_pattern="other\\_one")
    assert escaped == [("memory", "other_one")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["t", "v", "t_x", "birds"]),
        ({"catalog": "nature"}, ["birds"]),
        ({"db_schema_filter_pattern": "other%"}, ["t_x"]),
        ({"table_name_filter_pattern": "t%"}, ["t", "t_x"]),
        ({"table_name_filter_pattern": "t\\_x"}, ["t_x"]),
        ({"table_types": ["VIEW"]}, ["v"]),
        ({"table_types": ["view"]}, ["v"]),
        ({"table_types": ["BASE TABLE"]}, ["t", "t_x", "birds"]),
        ({"table_types": ["NO SUCH"]}, []),
        ({"catalog": "' OR 1=1 --"}, []),
    ],
)
def test_tables_by_every_filter(
    filled: Client, fields: dict[str, object], expected: list[str]
) -> None:
    assert [row[2] for row in get(filled, "CommandGetTables", **fields)] == expected


def test_table_schemas_have_types_and_flight_sql_metadata(filled: Client) -> None:
    found = get(filled, "CommandGetTables", table_name_filter_pattern="t", include_schema=True)
    ((catalog, schema, name, kind, data),) = found
    assert (catalog, schema, name, kind) == ("memory", "main", "t", "TABLE")
    columns = pa.ipc.read_schema(pa.py_buffer(data))
    assert columns.field("i") == pa.field("i", pa.int32(), nullable=False)
    assert columns.field("d").type == pa.decimal128(10, 2)
    assert columns.field("d").metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"] == b"DECIMAL(10,2)"
    assert columns.field("l").type == pa.list_(pa.field("l", pa.string()))


def test_adbc_sees_everything_at_once(connect: Connect, filled: Client) -> None:
    with connect() as connection:
        objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        names = {
            table["table_name"]: [column["column_name"] for column in table["table_columns"]]
            for catalog in objects
            for schema in catalog["catalog_db_schemas"]
            for table in schema["db_schema_tables"]
        }
        assert names == {"t": ["i", "d", "l"], "v": ["i"], "t_x": ["i"], "birds": ["id", "name"]}
        assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]
        assert connection.adbc_get_info()["vendor_version"].startswith("duckdb v1.5.5")
        birds = connection.adbc_get_table_schema("birds")
        assert birds.names == ["id", "name"]
    assert filled.rows("SELECT name FROM nature.birds") == [("coot",)]


def test_an_attached_database_is_read_only_by_default(filled: Client) -> None:
    with pytest.raises(pa.ArrowInvalid, match="read-only"):
        filled.info("INSERT INTO nature.birds VALUES (2, 'teal')")
