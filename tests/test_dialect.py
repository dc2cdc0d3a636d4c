"""What clients are told about the SQL: complete, of the right kinds, and true of DuckDB."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from pondflight.dialect import SQL_INFO, TABLE_TYPES, table_types, words, xdbc_type_info
from pondflight.flightsql import schemas
from pondflight.flightsql.sqlinfo import sql_info_table

OFFICIAL = [*range(12), 100, 101, *range(500, 577)]
MASKS = {8, 100, 101, 522, 525, 526, 528, 533, 534, 535, 538, 540, 564, *range(567, 572)}
NUMBERS = {503, 505, 507, *range(541, 556), *range(557, 563)}
STRINGS = {0, 1, 2, 6, 7, 504, 513, 514, 529, 530, 531}
LISTS = {508, 509, 510, 511, 512}
MAPS = {517}


def test_the_official_list_is_complete_and_has_nothing_else() -> None:
    assert sorted(SQL_INFO) == OFFICIAL


def test_each_value_is_of_the_kind_that_clients_cast_to() -> None:
    table = sql_info_table(SQL_INFO)
    assert table.schema == schemas.SQL_INFO
    codes = table.column("value").combine_chunks().type_codes.to_pylist()
    names = table.column("info_name").to_pylist()
    kinds = [STRINGS, set(OFFICIAL) - STRINGS - NUMBERS - MASKS - LISTS - MAPS, NUMBERS, MASKS]
    for number, kind in enumerate([*kinds, LISTS, MAPS]):
        assert {n for n, code in zip(names, codes, strict=True) if code == number} == kind


@pytest.mark.parametrize(
    "listed",
    [
        words.NUMERIC_FUNCTIONS,
        words.STRING_FUNCTIONS,
        words.SYSTEM_FUNCTIONS,
        words.DATETIME_FUNCTIONS,
    ],
)
def test_the_functions_exist(listed: list[str]) -> None:
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT DISTINCT upper(function_name) FROM duckdb_functions()")
        assert set(listed) <= {name for (name,) in rows.fetchall()}


def test_the_keywords_cannot_be_names() -> None:
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT upper(keyword_name) FROM duckdb_keywords() "
            "WHERE keyword_category IN ('reserved', 'type_function')"
        )
        assert set(words.KEYWORDS) <= {name for (name,) in rows.fetchall()}


def test_the_types_exist_and_are_sorted_by_code() -> None:
    table = xdbc_type_info(None)
    assert table.schema == schemas.XDBC_TYPE_INFO
    codes = table.column("data_type").to_pylist()
    assert codes == sorted(codes)
    with duckdb.connect() as connection:
        for name in table.column("type_name").to_pylist():
            connection.execute(f"SELECT NULL::{name}")


def test_types_by_code() -> None:
    assert xdbc_type_info(4).column("type_name").to_pylist() == ["INTEGER", "UINTEGER"]
    assert xdbc_type_info(-99).num_rows == 0
    timestamp = xdbc_type_info(93).to_pylist()[0]
    assert (timestamp["sql_data_type"], timestamp["datetime_subcode"]) == (9, 3)


def test_table_types() -> None:
    assert table_types() == pa.table({"table_type": TABLE_TYPES}, schema=schemas.TABLE_TYPES)
