"""Commands that come by DoPut without a schema, as clients in Rust and Go send them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest

from pondflight.flightsql import wire
from tests.bare_grpc import BareClient
from tests.proxy.conftest import Deployment


@pytest.fixture(name="bare")
def fixture_bare(shared: Deployment, user: str) -> Iterator[BareClient]:
    client = BareClient(shared.uri, shared.token(user), cookie="arrow_flight_session_id=a1b2")
    yield client
    client.close()


def prepare(bare: BareClient, sql: str) -> bytes:
    request = wire.new("ActionCreatePreparedStatementRequest", query=sql)
    (created,) = bare.act("CreatePreparedStatement", request)
    value = wire.message_class(wire.ANY).FromString(created).value
    result = wire.message_class("ActionCreatePreparedStatementResult").FromString(value)
    handle: bytes = result.prepared_statement_handle
    return handle


def update(bare: BareClient, handle: bytes) -> int:
    command = wire.new("CommandPreparedStatementUpdate", prepared_statement_handle=handle)
    (answer,) = bare.put(command)
    count: int = wire.message_class("DoPutUpdateResult").FromString(answer).record_count
    return count


def bind(bare: BareClient, handle: bytes, *messages: bytes) -> bytes:
    command = wire.new("CommandPreparedStatementQuery", prepared_statement_handle=handle)
    (answer,) = bare.put(command, *messages)
    result = wire.message_class("DoPutPreparedStatementResult").FromString(answer)
    bound: bytes = result.prepared_statement_handle
    return bound


def test_a_prepared_update_runs_once(shared: Deployment, user: str, bare: BareClient) -> None:
    update(bare, prepare(bare, "CREATE TABLE t (i INT)"))
    insert = prepare(bare, "INSERT INTO t VALUES (1), (2)")
    assert [update(bare, insert), update(bare, insert)] == [2, 2]
    assert shared.client(user).rows("SELECT count(*) FROM t") == [(4,)]


def test_parameters_that_were_bound_before_stay(
    shared: Deployment, user: str, bare: BareClient
) -> None:
    client = shared.client(user, cookie="arrow_flight_session_id=a1b2")
    client.info("CREATE TABLE t (i INT)")
    handle = prepare(bare, "INSERT INTO t VALUES (?)")
    command = wire.new("CommandPreparedStatementQuery", prepared_statement_handle=handle)
    answer = client.put(wire.pack(command), pa.table({"1": [7, 8]}))
    bound = wire.message_class("DoPutPreparedStatementResult").FromString(answer)
    for known in (handle, bind(bare, bound.prepared_statement_handle)):
        assert update(bare, known) == 2
    assert client.rows("SELECT DISTINCT i FROM t ORDER BY i") == [(7,), (8,)]


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (wire.new("CommandStatementSubstraitPlan"), "UNIMPLEMENTED", "Substrait"),
        (wire.new("CommandStatementIngest", table="t"), "INVALID_ARGUMENT", "has no columns"),
        (wire.new("CommandGetTables"), "INVALID_ARGUMENT", "cannot be sent by DoPut"),
    ],
)
def test_what_cannot_be_put_is_refused_in_words(
    bare: BareClient, command: Any, code: str, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        bare.put(command)
    assert raised.value.code() == grpc.StatusCode[code]
    assert text in str(raised.value.details())
