from __future__ import annotations

import io
import json
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from pondflight.web import formats, json_lines, json_text
from pondflight.web.formats import ARROW, CSV, JSON_LINES, PARQUET, Format

VALUES: dict[str, Any] = {
    "true": True,
    "(-128)::TINYINT": -128,
    "9223372036854775807::BIGINT": 9223372036854775807,
    "18446744073709551615::UBIGINT": 18446744073709551615,
    "170141183460469231731687303715884105::HUGEINT": 170141183460469231731687303715884105,
    "1.50::DECIMAL(10, 2)": 1.5,
    "0.1::DOUBLE": 0.1,
    "'NaN'::DOUBLE": "NaN",
    "'-Infinity'::FLOAT": "-Infinity",
    "'a\"b\\\né\u2028'": 'a"b\\\né\u2028',
    "'\\xAA\\x00'::BLOB": "qgA=",
    "DATE '2024-02-29'": "2024-02-29",
    "TIME '01:02:03.5'": "01:02:03.500000",
    "TIMESTAMP '2024-02-29 01:02:03'": "2024-02-29T01:02:03",
    "TIMESTAMPTZ '2024-02-29 01:02:03+00'": "2024-02-29T01:02:03+00:00",
    "TIMESTAMP_NS '2024-02-29 01:02:03.123456789'": "2024-02-29T01:02:03.123456789",
    "DATE 'infinity'": "infinity",
    "DATE '-infinity'": "-infinity",
    "DATE '5881580-07-10'": "+5881580-07-10",
    "DATE '0044-03-15 (BC)'": "-000043-03-15",
    "TIMESTAMP 'infinity'": "infinity",
    "TIMESTAMP '294247-01-10 04:00:54.775806'": "+294247-01-10T04:00:54.775806",
    "TIMESTAMP '0044-03-15 (BC) 01:02:03'": "-000043-03-15T01:02:03",
    "TIMESTAMPTZ '-infinity'": "-infinity",
    "TIMESTAMPTZ '10000-01-01 00:00:00+00'": "+010000-01-01T00:00:00+00:00",
    "TIMESTAMP_S '99999-12-31'": "+099999-12-31T00:00:00",
    "TIME '24:00:00'": "24:00:00",
    "[DATE 'infinity', NULL]": ["infinity", None],
    "{'at': TIMESTAMP_NS '2024-02-29 01:02:03.123456789'}": {"at": "2024-02-29T01:02:03.123456789"},
    "MAP {DATE '2024-02-29': TIME '24:00:00'}": [{"key": "2024-02-29", "value": "24:00:00"}],
    "union_value(at := DATE 'infinity')": "infinity",
    "['a'::ENUM('a', 'b'), NULL]": ["a", None],
    "[[1], [], NULL]": [[1], [], None],
    "INTERVAL '14 months 3 days 1.5 seconds'": "P14M3DT1.5S",
    "INTERVAL '-1 seconds'": "PT-1S",
    "INTERVAL '0 days'": "P0D",
    "UUID '0b38f7e5-96cb-44e3-9b9d-32dc6ce86c27'": "0b38f7e5-96cb-44e3-9b9d-32dc6ce86c27",
    "[1, NULL, 3]": [1, None, 3],
    "[1, 2]::INT[2]": [1, 2],
    "{'a': 1, 'b': {'c': [NULL]}}": {"a": 1, "b": {"c": [None]}},
    "MAP {'k': 1, 'l': NULL}": {"k": 1, "l": None},
    "MAP {1: 'x'}": [{"key": 1, "value": "x"}],
    "union_value(num := 1)": 1,
    "'a'::ENUM('a', 'b')": "a",
    "'{\"a\":1}'::JSON": '{"a":1}',
    "NULL": None,
}


def result(sql: str) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        reader = connection.execute(sql).to_arrow_reader(2048)
        return reader.schema, list(reader)


def encoded(form: Format, sql: str) -> bytes:
    schema, batches = result(sql)
    return b"".join(part for piece in form.encode(schema, batches) for part in piece)


@pytest.mark.parametrize("value", VALUES)
def test_value_in_json(value: str) -> None:
    (line,) = encoded(JSON_LINES, f"SELECT {value} AS v").splitlines()
    assert json.loads(line)["v"] == VALUES[value]


def test_decimal_keeps_its_digits() -> None:
    sql = "SELECT 1.50::DECIMAL(10, 2) AS a, 12345678901234567890.123456789::DECIMAL(38, 9) AS b"
    assert encoded(JSON_LINES, sql) == b'{"a":1.50,"b":12345678901234567890.123456789}\n'


@pytest.mark.parametrize("form", [ARROW, CSV, PARQUET])
def test_every_type_has_a_form_everywhere(form: Format) -> None:
    columns = ", ".join(f"{value} AS c{n}" for n, value in enumerate(VALUES))
    body = encoded(form, f"SELECT {columns} FROM range(3)")
    read = {
        ARROW: lambda: pa.ipc.open_stream(body).read_all(),
        CSV: lambda: csv.read_csv(
            io.BytesIO(body), parse_options=csv.ParseOptions(newlines_in_values=True)
        ),
        PARQUET: lambda: parquet.read_table(io.BytesIO(body)),
    }
    table = read[form]()
    assert (table.num_rows, table.num_columns) == (3, len(VALUES))


def test_csv_tells_null_from_empty_and_quotes_what_it_must() -> None:
    body = encoded(CSV, "SELECT NULL AS a, '' AS b, 'x\"y' AS c, [1, 2] AS d")
    assert body == b'"a","b","c","d"\n,"","x""y","[1,2]"\n'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("DATE 'infinity'", "infinity"),
        ("TIMESTAMPTZ '294246-01-01 00:00:00+00'", "+294246-01-01T00:00:00+00:00"),
        ("TIMESTAMP '0044-03-15 (BC)'", "-000043-03-15T00:00:00"),
        ("TIME '24:00:00'", "24:00:00"),
    ],
)
def test_csv_has_dates_of_any_year_beside_those_that_are_usual(value: str, text: str) -> None:
    body = encoded(CSV, f"SELECT {value} AS a, 1 AS b UNION ALL SELECT NULL, 2 ORDER BY b")
    assert body.decode() == f'"a","b"\n"{text}",1\n,2\n'


def test_time_zone_of_a_timestamp_is_kept() -> None:
    kind = pa.timestamp("us", "Europe/Berlin")
    summer, winter, late = 1_720_000_000_000_000, 1_700_000_000_000_000, 2**62
    texts = json_text.column(pa.array([summer, winter, late, None], pa.int64()).view(kind))
    assert texts[:2] == ['"2024-07-03T11:46:40+02:00"', '"2023-11-14T23:13:20+01:00"']
    assert texts[2] == '"+148108-07-06T14:00:27.387904+00:00"'
    assert texts[3] == "null"


@given(st.integers(0, 4), st.integers(0, 6))
def test_slice_of_what_has_parts_is_written_as_the_whole_is(start: int, length: int) -> None:
    row = (
        "[range, NULL] AS l, {'x': [range]} AS s, MAP {range: [range]} AS m, "
        "[range, range]::BIGINT[2] AS f, CASE WHEN range = 1 THEN NULL ELSE [range] END AS n, "
        "CASE WHEN range % 2 = 0 THEN union_value(i := range) END AS u, "
        "(range % 2)::VARCHAR::ENUM('0', '1') AS e, [DATE '2024-02-29' + range::INT] AS d"
    )
    _, (batch,) = result(f"SELECT {row} FROM range(6)")
    for array in batch.columns:
        whole = json_text.column(array)
        assert json_text.column(array.slice(start, length)) == whole[start : start + length]
        for text in whole:
            json.loads(text)


def test_names_that_stand_twice_are_kept_apart() -> None:
    assert json_text.distinct(["a", "a", "a_1", "b", "a"]) == ["a", "a_2", "a_1", "b", "a_3"]
    assert encoded(JSON_LINES, "SELECT 1 AS a, 2 AS a") == b'{"a":1,"a_1":2}\n'


@given(st.lists(st.text(max_size=3), max_size=8))
def test_names_are_distinct_whatever_they_were(names: list[str]) -> None:
    assert len(set(json_text.distinct(names))) == len(names)


@given(st.lists(st.one_of(st.none(), st.text(), st.floats(), st.integers(-(2**63), 2**63 - 1))))
def test_any_text_and_number_is_json(values: list[Any]) -> None:
    for value in values:
        array = pa.array([value])
        (text,) = json_text.column(array)
        back = json.loads(text)
        if isinstance(value, float) and value - value != 0:
            assert isinstance(back, str)
        else:
            assert back == value


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            st.one_of(st.none(), st.floats(width=64)),
            st.one_of(st.none(), st.text()),
            st.one_of(st.none(), st.booleans()),
            st.one_of(st.none(), st.dates()),
        ),
        min_size=1,
    ),
    st.integers(0, 3),
)
def test_fast_lines_say_what_slow_ones_would(rows: list[tuple[Any, ...]], skip: int) -> None:
    types = [pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.date32()]
    columns = [
        pa.array(values, t) for values, t in zip(zip(*rows, strict=True), types, strict=True)
    ]
    batch = pa.record_batch(columns, names=["a", "b", "c", '"d', "\\é"]).slice(skip)
    text = b"".join(json_lines.lines(batch, batch.schema.names))
    slow = [json_text.column(array) for array in batch.columns]
    expected = [
        dict(zip(batch.schema.names, map(json.loads, row), strict=True))
        for row in zip(*slow, strict=True)
    ]
    assert [json.loads(line) for line in text.decode().split("\n")[:-1]] == expected


def test_nothing_but_the_batch_at_hand_is_kept() -> None:
    schema, (batch, *_) = result("SELECT range AS a, range::VARCHAR AS b FROM range(2048)")
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield batch

    for form in (ARROW, JSON_LINES, CSV):
        taken = 0
        pieces = form.encode(schema, endless())
        for _ in range(50):
            next(pieces)
        assert taken <= 51
        pieces.close()
    taken = 0
    pieces = PARQUET.encode(schema, endless())
    next(pieces)
    assert taken * batch.nbytes <= formats._ROW_GROUP + batch.nbytes
    pieces.close()
