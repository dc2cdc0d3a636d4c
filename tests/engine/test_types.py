"""Every DuckDB type, out and in: what arrives is what was sent, or what docs/types.md says."""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from adbc_driver_manager import Error
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.conftest import Connect
from tests.flight import Client

NANOSECONDS = 1_709_209_800_123_456_789
HUGE = 2**127 - 1


class Case(NamedTuple):
    """A SQL type, a value as SQL, the Arrow type that it arrives as, and the value there."""

    type: str
    sql: str
    arrow: pa.DataType
    value: object


CASES = [
    Case("BOOLEAN", "true", pa.bool_(), value=True),
    Case("TINYINT", "-128", pa.int8(), -128),
    Case("UTINYINT", "255", pa.uint8(), 255),
    Case("SMALLINT", "-32768", pa.int16(), -32768),
    Case("USMALLINT", "65535", pa.uint16(), 65535),
    Case("INTEGER", "-2147483648", pa.int32(), -(2**31)),
    Case("UINTEGER", "4294967295", pa.uint32(), 2**32 - 1),
    Case("BIGINT", "-9223372036854775808", pa.int64(), -(2**63)),
    Case("UBIGINT", "18446744073709551615", pa.uint64(), 2**64 - 1),
    Case("HUGEINT", f"{10**38 - 1}", pa.decimal128(38, 0), Decimal(10**38 - 1)),
    Case("UHUGEINT", f"{2**128 - 1}", pa.string(), str(2**128 - 1)),
    Case("BIGNUM", "'1234567890123456789012345678901234567890123'", pa.string(), None),
    Case("FLOAT", "1.5", pa.float32(), 1.5),
    Case("DOUBLE", "'-infinity'", pa.float64(), float("-inf")),
    Case("DECIMAL(4,1)", "-999.9", pa.decimal128(4, 1), Decimal("-999.9")),
    Case("DECIMAL(18,3)", "1.125", pa.decimal128(18, 3), Decimal("1.125")),
    Case(
        "DECIMAL(38,10)",
        "1234567890123456789012345678.0123456789",
        pa.decimal128(38, 10),
        Decimal("1234567890123456789012345678.0123456789"),
    ),
    Case("VARCHAR", "'Zoë''s 🦆'", pa.string(), "Zoë's 🦆"),
    Case("BLOB", r"'\x00\xFFab'", pa.binary(), b"\x00\xffab"),
    Case("BIT", "'0101100111'", pa.string(), "0101100111"),
    Case("DATE", "'2024-02-29'", pa.date32(), dt.date(2024, 2, 29)),
    Case("TIME", "'23:59:59.999999'", pa.time64("us"), dt.time(23, 59, 59, 999999)),
    Case("TIME_NS", "'12:30:00.123456789'", pa.time64("ns"), 45_000_123_456_789),
    Case("TIMETZ", "'12:30:00.123456+02:30'", pa.string(), "12:30:00.123456+02:30"),
    Case("TIMESTAMP_S", "'2024-02-29 12:30:00'", pa.timestamp("s"), 1_709_209_800),
    Case("TIMESTAMP_MS", "'2024-02-29 12:30:00.123'", pa.timestamp("ms"), 1_709_209_800_123),
    Case("TIMESTAMP", "'1600-01-01 00:00:00'", pa.timestamp("us"), dt.datetime(1600, 1, 1)),  # noqa: DTZ001
    Case("TIMESTAMP_NS", "'2024-02-29 12:30:00.123456789'", pa.timestamp("ns"), NANOSECONDS),
    Case(
        "TIMESTAMPTZ",
        "'2024-02-29 12:30:00.5+02'",
        pa.timestamp("us", "UTC"),
        dt.datetime(2024, 2, 29, 10, 30, 0, 500000, tzinfo=dt.UTC),
    ),
    Case(
        "INTERVAL",
        "'14 months 3 days 01:02:03.000004'",
        pa.month_day_nano_interval(),
        pa.MonthDayNano([14, 3, 3_723_000_004_000]),
    ),
    Case("UUID", f"'{uuid.UUID(int=7)}'", pa.string(), str(uuid.UUID(int=7))),
    Case("ENUM('a', 'it''s')", "'it''s'", pa.string(), "it's"),
    Case("JSON", """'{"a": [1, null]}'""", pa.string(), '{"a": [1, null]}'),
    Case("INTEGER[]", "[1, NULL, 3]", pa.list_(pa.field("l", pa.int32())), [1, None, 3]),
    Case("INTEGER[][]", "[[1], [], NULL]", None, [[1], [], None]),
    Case("INTEGER[3]", "[1, 2, 3]", None, [1, 2, 3]),
    Case('STRUCT(a INTEGER, "b c" VARCHAR)', "{'a': 1, 'b c': NULL}", None, {"a": 1, "b c": None}),
    Case("MAP(VARCHAR, DECIMAL(3,1))", "MAP {'k': 1.5}", None, [("k", Decimal("1.5"))]),
    Case("UNION(num INTEGER, str VARCHAR)", "union_value(str := 'x')", None, "x"),
    Case("UUID[]", f"['{uuid.UUID(int=7)}']", None, [str(uuid.UUID(int=7))]),
    Case("BIT[2]", "['1', '01']", None, ["1", "01"]),
    Case(
        "STRUCT(t TIMETZ, e ENUM('x')[])",
        "{'t': '12:00:00+01', 'e': ['x']}",
        None,
        {"t": "12:00:00+01", "e": ["x"]},
    ),
    Case("MAP(ENUM('x'), UHUGEINT)", "MAP {'x': 1}", None, [("x", "1")]),
    Case("GEOMETRY", "'POINT (1 2)'", pa.binary(), None),
]
IDS = [case.type for case in CASES]


def python(value: pa.Scalar) -> object:
    """A value as Python has it; as a number where Python has none."""
    if pa.types.is_timestamp(value.type) and value.type.unit in ("s", "ms", "ns"):
        return value.value
    if pa.types.is_time(value.type) and value.type.unit == "ns":
        return value.value
    return value.as_py()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_type_arrives_and_goes_in_again_by_parameter_and_by_ingest(
    connect: Connect, case: Case
) -> None:
    with connect("s", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE t (n INTEGER, v {case.type})")
        cursor.execute(f"INSERT INTO t VALUES (0, ({case.sql})::{case.type}), (1, NULL)")
        cursor.execute("SELECT v FROM t ORDER BY n")
        out = cursor.fetch_arrow_table()
        if case.arrow is not None:
            assert out.schema.field("v").type == case.arrow
        if case.value is not None:
            assert python(out.column("v")[0]) == case.value
        assert not out.column("v")[1].is_valid
        cursor.execute("INSERT INTO t VALUES (?, ?)", numbered(2, out.slice(0, 1)))
        cursor.executemany("INSERT INTO t VALUES (?, ?)", numbered(3, out))
        cursor.execute("SELECT ? AS v", out.slice(0, 1))
        assert cursor.fetch_arrow_table().column("v")[0].as_py
        cursor.adbc_ingest("t", numbered(5, out), mode="append")
        cursor.execute("SELECT count(*), count(v), count(DISTINCT v::VARCHAR) FROM t")
        assert cursor.fetchall() == [(7, 4, 1)]


def numbered(first: int, table: pa.Table) -> pa.Table:
    return table.add_column(0, "n", pa.array(range(first, first + len(table)), pa.int32()))


def test_the_largest_hugeint_goes_every_way(connect: Connect) -> None:
    with connect("s", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (v HUGEINT)")
        cursor.execute(f"INSERT INTO t VALUES ({HUGE}), ({-HUGE})")
        cursor.execute("SELECT v FROM t ORDER BY v DESC")
        out = cursor.fetch_arrow_table()
        cursor.executemany("INSERT INTO t VALUES (?)", out)
        cursor.adbc_ingest("t", out, mode="append")
        cursor.execute("SELECT ? AS v, count(*) AS n FROM t WHERE v = ?", twice(out.slice(0, 1)))
        assert cursor.fetchall() == [(Decimal(HUGE), 3)]


def twice(table: pa.Table) -> pa.Table:
    return table.append_column("again", table.column(0))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_schema_is_known_before_and_names_the_type(client: Client, case: Case) -> None:
    sql = f"SELECT ({case.sql})::{case.type} AS v"
    info = client.info(sql)
    reader = client.flight.do_get(info.endpoints[0].ticket, client.options())
    assert info.schema.equals(reader.schema, check_metadata=True)
    assert client.schema(sql).equals(reader.schema, check_metadata=True)
    (name,) = client.rows(f"SELECT typeof(({case.sql})::{case.type})")[0]
    assert reader.schema.field("v").metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"] == name.encode()
    reader.read_all()


def test_a_variant_leaves_as_json_and_comes_in_as_json(connect: Connect) -> None:
    with connect("s", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (n INTEGER, v VARIANT)")
        cursor.execute("INSERT INTO t VALUES (1, {'a': [1, 2]}), (2, NULL)")
        cursor.execute("INSERT INTO t VALUES (?, ?::JSON::VARIANT)", (3, '{"a": [1, 2]}'))
        cursor.execute("SELECT v, variant_typeof(v) FROM t ORDER BY n")
        rows = [('{"a":[1,2]}', "OBJECT(a)"), (None, "VARIANT_NULL"), ('{"a":[1,2]}', "OBJECT(a)")]
        assert cursor.fetchall() == rows


def test_fields_of_a_row_without_names_get_names(connect: Connect) -> None:
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT row(1, 'x') AS v, [row(2, TIMETZ '12:00:00+01')] AS l")
        assert cursor.fetchall() == [({"f1": 1, "f2": "x"}, [{"f1": 2, "f2": "12:00:00+01"}])]


def test_rows_of_returning_leave_in_the_same_form(connect: Connect) -> None:
    with connect("s", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (b BIT, e ENUM('x', 'y'))")
        cursor.execute("INSERT INTO t VALUES ('101', 'y') RETURNING b, e, b")
        assert cursor.fetchall() == [("101", "y", "101")]
        cursor.execute("SELECT b, e, e FROM t ORDER BY b")
        assert cursor.fetchall() == [("101", "y", "y")]
        assert [column[0] for column in cursor.description or []] == ["b", "e", "e"]


def test_the_order_of_rows_is_kept_where_columns_are_cast(connect: Connect) -> None:
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (range * 7919) % 300000 AS k, '1'::BIT AS b FROM range(300000) ORDER BY k DESC"
        )
        keys = cursor.fetch_arrow_table().column("k").to_pylist()
        assert keys == list(range(299_999, -1, -1))


def test_time_zones_of_a_session_are_in_the_schema(connect: Connect) -> None:
    with connect("s", autocommit=True) as connection, connection.cursor() as cursor:
        for zone in ("UTC", "Europe/Paris", "UTC"):
            cursor.execute(f"SET TimeZone = '{zone}'")
            cursor.execute("SELECT TIMESTAMPTZ '2024-02-29 12:00:00+00' AS t")
            table = cursor.fetch_arrow_table()
            assert table.schema.field("t").type == pa.timestamp("us", zone)


def test_an_error_in_a_query_whose_columns_are_cast_points_at_the_users_text(
    client: Client,
) -> None:
    with pytest.raises(pa.ArrowInvalid, match=r"LINE 2: 'x'::INT"):
        client.rows("SELECT '1'::BIT,\n'x'::INT FROM range(3)")


BOUND = [
    pa.array([NANOSECONDS], pa.timestamp("ns")),
    pa.array([1_709_209_800_123_456], pa.timestamp("us", "Europe/Paris")),
    pa.array([253_402_300_800 * 1_000_000], pa.timestamp("us")),  # the year 10000
    pa.array([45_000_123_456_789], pa.time64("ns")),
    pa.array([dt.date(1, 1, 1)]),
    pa.array([pa.MonthDayNano([14, -3, 5_000])]),
    pa.array([Decimal(10**38 - 1)], pa.decimal128(38, 0)),
    pa.array([Decimal("1E-10")], pa.decimal128(10, 10)),
    pa.array([2**64 - 1], pa.uint64()),
    pa.array([1.5], pa.float32()),
    pa.array([b"\x00\xff"]),
    pa.array([[NANOSECONDS, None]], pa.list_(pa.field("l", pa.timestamp("ns")))),
    pa.array([{"a": 1, "b": [Decimal("1.5")]}]),
    pa.array([[("k", b"\x00")]], pa.map_(pa.string(), pa.binary())),
]


@pytest.mark.parametrize("array", BOUND, ids=[str(array.type) for array in BOUND])
def test_a_bound_value_keeps_its_type_and_every_digit(connect: Connect, array: pa.Array) -> None:
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ? AS v, ?", pa.table({"0": array, "1": array}))
        column = cursor.fetch_arrow_table().column("v").combine_chunks()
    if pa.types.is_timestamp(array.type) and array.type.tz:
        array = array.cast(pa.timestamp("us", "UTC"))
    assert column.cast(array.type).equals(array)
    if not pa.types.is_nested(array.type):
        assert column.type == array.type


@pytest.mark.parametrize("hours", [2_562_047_000, -2_562_047_788])
def test_an_interval_that_arrow_cannot_hold_is_an_error(connect: Connect, hours: int) -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        with pytest.raises(Error, match="292 years in hours"):
            cursor.execute(f"SELECT to_hours({hours}) AS far")
            cursor.fetchall()
        cursor.execute("SELECT to_hours(-2562046) AS near, INTERVAL 178000000 YEAR AS years")
        assert cursor.fetchall() == [
            (
                pa.MonthDayNano([0, 0, -2_562_046 * 3600 * 10**9]),
                pa.MonthDayNano([2_136_000_000, 0, 0]),
            )
        ]


def test_nan_is_bound_as_nan(connect: Connect) -> None:
    single, double = pa.array([math.nan], pa.float32()), pa.array([math.nan, 1.5], pa.float64())
    bound = {
        "0": single,
        "1": double[:1],
        "2": pa.array([[math.nan, None]]),
        "3": pa.array([{"a": math.nan}]),
    }
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ?::VARCHAR, ?::VARCHAR, ?::VARCHAR, ?::VARCHAR", pa.table(bound))
        assert cursor.fetchall() == [("nan", "nan", "[nan, NULL]", "{'a': nan}")]
        cursor.execute("CREATE TEMP TABLE several (x DOUBLE)")
        cursor.executemany("INSERT INTO several VALUES (?)", pa.table({"0": double}))
        cursor.execute("SELECT count(x) FROM several WHERE isnan(x)")
        assert cursor.fetchall() == [(1,)]


@given(st.decimals(min_value=-(10**27), max_value=10**27, places=10))
@settings(max_examples=25, deadline=None)
def test_decimals_survive_the_way_there_and_back(number: Decimal) -> None:
    import duckdb  # noqa: PLC0415  nothing else here needs it

    from pondflight.engine.sql.statement import parse  # noqa: PLC0415
    from pondflight.engine.types import parameters  # noqa: PLC0415

    with duckdb.connect() as connection:
        (statement,) = parse(connection, "SELECT ?")
        table = pa.table({"0": pa.array([number], pa.decimal128(38, 10))})
        (values,) = parameters.rows(statement, table)
        assert connection.execute("SELECT ?", values).fetchone() == (number,)


def test_the_documentation_names_every_type() -> None:
    page = (Path(__file__).parents[2] / "docs" / "types.md").read_text("utf-8")
    families = {re.split(r"[(\[]", case.type)[0] for case in CASES} | {"VARIANT"}
    nested = {"TIMETZ": "TIME WITH TIME ZONE", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    spelled = {"TIMESTAMP_MS": "_MS", "TIMESTAMP_NS": "_NS", "UTINYINT": "UTINYINT …"}
    between = {"SMALLINT", "INTEGER", "USMALLINT", "UINTEGER"}  # of TINYINT … BIGINT
    missing = [
        family
        for family in families - between
        if spelled.get(family, nested.get(family, family)) not in page
    ]
    assert missing == []


def test_a_parameter_that_is_run_end_encoded(connect: Connect) -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"]))
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ?", pa.record_batch([runs], names=["p"]))
        assert cursor.fetchall() == [("a",)]
