"""The layer, as ADBC's driver uses it."""

from __future__ import annotations

import adbc_driver_manager
import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi

from tests.flightsql.memory_server import MemoryServer


def test_execute_returns_rows(connection: dbapi.Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT numbers")
        assert cursor.fetchall() == [(1,), (2,), (3,)]


def test_execute_with_parameters_uses_the_handle_that_bind_returned(
    server: MemoryServer, connection: dbapi.Connection
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT numbers", (7,))
        assert cursor.fetchall() == [(1,), (2,), (3,)]
    (bound,) = server.bound.values()
    assert bound.column(0).to_pylist() == [7]


def test_an_update_is_known_as_one_and_gives_its_row_count(
    server: MemoryServer, connection: dbapi.Connection
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE numbers")
        assert cursor.rowcount == 3
    assert server.tables == {}


@pytest.mark.parametrize(
    ("mode", "rows"), [("append", 5), ("replace", 2), ("create_append", 5), ("create", None)]
)
def test_ingest_says_what_to_do_with_a_table_that_exists(
    server: MemoryServer, connection: dbapi.Connection, mode: str, rows: int | None
) -> None:
    more = pa.table({"n": [4, 5]})
    with connection.cursor() as cursor:
        if rows is None:
            with pytest.raises(adbc_driver_manager.ProgrammingError, match="numbers is there"):
                cursor.adbc_ingest("numbers", more, mode=mode)  # type: ignore[arg-type]
        else:
            assert cursor.adbc_ingest("numbers", more, mode=mode) == 2  # type: ignore[arg-type]
            assert server.tables["numbers"].num_rows == rows


def test_transactions_commit_and_roll_back(server: MemoryServer) -> None:
    with dbapi.connect(server.uri) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("more", pa.table({"n": [4]}))
        connection.rollback()
        assert "more" not in server.tables
        cursor.adbc_ingest("more", pa.table({"n": [4]}))
        connection.commit()
    assert "more" in server.tables


@pytest.mark.parametrize("depth", ["catalogs", "db_schemas", "tables", "columns"])
def test_get_objects_at_every_depth(connection: dbapi.Connection, depth: str) -> None:
    (catalog,) = connection.adbc_get_objects(depth=depth).read_all().to_pylist()  # type: ignore[arg-type]
    assert catalog["catalog_name"] == "memory"
    if depth in ("tables", "columns"):
        (schema,) = catalog["catalog_db_schemas"]
        (table,) = schema["db_schema_tables"]
        assert table["table_name"] == "numbers"
        if depth == "columns":
            assert [column["column_name"] for column in table["table_columns"]] == ["n"]


def test_get_table_schema(connection: dbapi.Connection) -> None:
    assert connection.adbc_get_table_schema("numbers") == pa.schema([("n", pa.int64())])


def test_get_info_and_table_types(connection: dbapi.Connection) -> None:
    assert connection.adbc_get_info()["vendor_name"] == "memory"
    assert connection.adbc_get_table_types() == ["TABLE"]


def test_closing_the_connection_closes_the_session(server: MemoryServer) -> None:
    with dbapi.connect(server.uri, autocommit=True):
        pass
    assert "CloseSession" in server.seen


@pytest.mark.parametrize(
    ("query", "error", "text"),
    [
        ("SELEC numbers", adbc_driver_manager.ProgrammingError, "INVALID_ARGUMENT.*'SELEC'"),
        ("SELECT nothing", adbc_driver_manager.ProgrammingError, "NOT_FOUND.*no table 'nothing'"),
        ("CRASH", adbc_driver_manager.InternalError, "INTERNAL.*internal error, reference"),
    ],
)
def test_errors_arrive_as_the_right_class_without_traceback(
    connection: dbapi.Connection, query: str, error: type[Exception], text: str
) -> None:
    with connection.cursor() as cursor, pytest.raises(error, match=text) as caught:
        cursor.execute(query)
    assert "Traceback" not in str(caught.value)
    assert "passwd" not in str(caught.value)


def test_an_error_half_way_through_a_stream_is_an_error(
    server: MemoryServer, connection: dbapi.Connection
) -> None:
    server.tables["breaks"] = pa.table({"n": [1]})
    with connection.cursor() as cursor:
        cursor.execute("SELECT breaks")
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="broken half way"):
            cursor.fetchall()


def test_dictionary_columns_arrive(server: MemoryServer, connection: dbapi.Connection) -> None:
    column = pa.array(["a", "b", "a"]).dictionary_encode()
    server.tables["words"] = pa.concat_tables([pa.table({"w": column})] * 2)
    with connection.cursor() as cursor:
        cursor.execute("SELECT words")
        assert cursor.fetch_arrow_table().column("w").to_pylist() == ["a", "b", "a"] * 2
