"""Primary and foreign keys."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pondflight.engine.server import EngineServer
from pondflight.flightsql import wire
from tests.flight import Client

TABLES = """
    CREATE SCHEMA other;
    CREATE TABLE Parent (b INT, a INT, code TEXT UNIQUE, PRIMARY KEY (a, b));
    CREATE TABLE child (y INT, x INT, code TEXT REFERENCES Parent (code),
                        FOREIGN KEY (x, y) REFERENCES Parent (a, b));
    CREATE TABLE other.parent (i INT PRIMARY KEY);
    CREATE TABLE other.child (i INT REFERENCES other.parent);
    CREATE TABLE alone (i INT);
"""
COMPOSITE = [
    ("memory", "main", "Parent", "a", "memory", "main", "child", "x", 1),
    ("memory", "main", "Parent", "b", "memory", "main", "child", "y", 2),
]
BY_CODE = ("memory", "main", "Parent", "code", "memory", "main", "child", "code", 1)
IN_OTHER = ("memory", "other", "parent", "i", "memory", "other", "child", "i", 1)


@pytest.fixture(name="filled")
def fixture_filled(client: Client) -> Client:
    client.info(TABLES)
    return client


def get(client: Client, name: str, **fields: object) -> list[tuple[object, ...]]:
    return client.rows(wire.pack(wire.new(name, **fields)))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"table": "parent"}, [("main", "Parent", "a", 1), ("main", "Parent", "b", 2)]),
        ({"table": "parent", "db_schema": "other"}, [("other", "parent", "i", 1)]),
        ({"table": "alone"}, []),
        ({"table": "parent", "catalog": "nope"}, []),
        ({"table": "%"}, []),
        ({"table": "' OR true --"}, []),
    ],
)
def test_primary_keys_in_the_order_of_the_key(
    filled: Client, fields: dict[str, object], expected: list[tuple[object, ...]]
) -> None:
    found = get(filled, "CommandGetPrimaryKeys", **fields)
    if fields == {"table": "parent"}:
        expected = [*expected, ("other", "parent", "i", 1)]
    assert [row[1:5] for row in found] == expected
    assert all(row[0] == "memory" and row[5] for row in found)


@pytest.mark.parametrize(
    ("command", "fields", "expected"),
    [
        (
            "CommandGetImportedKeys",
            {"table": "CHILD", "db_schema": "main"},
            [*COMPOSITE, BY_CODE],
        ),
        ("CommandGetImportedKeys", {"table": "Parent"}, []),
        ("CommandGetExportedKeys", {"table": "parent", "db_schema": "other"}, [IN_OTHER]),
        ("CommandGetExportedKeys", {"table": "child"}, []),
        (
            "CommandGetCrossReference",
            {"pk_table": "parent", "fk_table": "child", "fk_db_schema": "main"},
            [BY_CODE, *COMPOSITE],
        ),
        ("CommandGetCrossReference", {"pk_table": "alone", "fk_table": "child"}, []),
    ],
)
def test_foreign_keys_from_either_side(
    filled: Client,
    command: str,
    fields: dict[str, object],
    expected: list[tuple[object, ...]],
) -> None:
    found = get(filled, command, **fields)
    assert [row[:9] for row in found] == expected
    for row in found:
        fk_name, pk_name, update_rule, delete_rule = row[9:]
        assert fk_name
        assert pk_name
        assert (update_rule, delete_rule) == (3, 3)  # no action


def test_keys_of_an_attached_sqlite_database(
    engine: EngineServer, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "birds.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE birds (id INTEGER PRIMARY KEY, name VARCHAR)")
    entry = {"alias": "nature", "type": "sqlite", "connection_string": str(path)}
    engine._configure({"databases": [entry]})
    found = get(client, "CommandGetPrimaryKeys", table="birds")
    assert [row[:5] for row in found] == [("nature", "main", "birds", "id", 1)]


@pytest.mark.parametrize(
    "name",
    [
        "CommandGetCatalogs",
        "CommandGetDbSchemas",
        "CommandGetTables",
        "CommandGetTableTypes",
        "CommandGetSqlInfo",
        "CommandGetXdbcTypeInfo",
        "CommandGetPrimaryKeys",
        "CommandGetExportedKeys",
        "CommandGetImportedKeys",
        "CommandGetCrossReference",
    ],
)
def test_every_metadata_command_has_one_schema_in_get_schema_info_and_stream(
    filled: Client, name: str
) -> None:
    command = wire.pack(wire.new(name))
    info = filled.info(command)
    table = filled.flight.do_get(info.endpoints[0].ticket, filled.options()).read_all()
    assert info.schema.equals(table.schema, check_metadata=True)
    assert filled.schema(command).equals(table.schema, check_metadata=True)
