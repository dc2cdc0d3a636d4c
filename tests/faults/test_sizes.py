"""Results and uploads of unusual sizes: they pass, or they are refused in words."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pondflight.flightsql import wire
from pondflight.flightsql.decoding import MAX_REQUEST
from tests.flight import Client
from tests.proxy.conftest import Deployment


@pytest.fixture(name="client")
def fixture_client(shared: Deployment) -> Client:
    return shared.client("sizes")


def test_ten_thousand_columns(client: Client) -> None:
    table = client.table("SELECT " + ", ".join(f"{n} AS c{n}" for n in range(10_000)))
    assert table.num_columns == 10_000
    assert table["c9999"].to_pylist() == [9999]


def test_no_rows(client: Client) -> None:
    table = client.table("SELECT 1 AS a, 'x' AS b WHERE false")
    assert (table.num_rows, table.column_names) == (0, ["a", "b"])


def test_one_value_that_is_large(client: Client) -> None:
    table = client.table("SELECT repeat('x', 64 << 20) AS a, 1 AS b")
    assert [len(value.as_buffer()) for value in table["a"]] == [64 << 20]


def ingest(client: Client, table: pa.Table) -> int:
    command = wire.new(
        "CommandStatementIngest",
        table="t",
        table_definition_options={"if_not_exist": 1, "if_exists": 3},
    )
    answer = client.put(wire.pack(command), table)
    return int(wire.message_class("DoPutUpdateResult").FromString(answer).record_count)


def test_one_batch_that_is_large(client: Client) -> None:
    rows = 4 << 20
    assert ingest(client, pa.table({"i": pa.array(range(rows), pa.int64())})) == rows
    assert client.rows("SELECT sum(i) FROM t") == [(rows * (rows - 1) // 2,)]


def test_an_upload_without_columns_is_refused(client: Client) -> None:
    with pytest.raises(pa.ArrowInvalid, match="column"):
        ingest(client, pa.table({}))


@pytest.mark.parametrize("what", ["command", "action"])
def test_a_message_that_is_too_large_is_refused(client: Client, what: str) -> None:
    data = b"SELECT 1 --" + b"x" * MAX_REQUEST
    with pytest.raises(pa.ArrowInvalid, match=f"the limit is {MAX_REQUEST:,} bytes"):
        if what == "command":
            client.info(data)
        else:
            client.act("CancelFlightInfo", data)
    assert client.rows("SELECT 1") == [(1,)]


def test_headers_that_are_too_large_are_refused(shared: Deployment) -> None:
    client = shared.client("sizes", x="a" * (1 << 20))
    with pytest.raises(pa.ArrowInvalid, match="metadata size exceeds hard limit"):
        client.info("SELECT 1")
    assert shared.client("sizes").rows("SELECT 1") == [(1,)]
