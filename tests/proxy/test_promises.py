"""FlightInfos that come with a prepared statement."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight.flightsql import wire
from pondflight.proxy import early_infos as promises
from pondflight.proxy.early_infos import Promises
from pondflight.telemetry.metrics import REGISTRY
from tests.flight import Client
from tests.proxy.conftest import Deployment

SCHEMA = pa.schema([("n", pa.int32())])


def command(handle: bytes) -> bytes:
    return wire.pack(wire.new("CommandPreparedStatementQuery", prepared_statement_handle=handle))


def prepare(client: Client, sql: str) -> bytes:
    """A handle; there is one result, and no other."""
    request = wire.new("ActionCreatePreparedStatementRequest", query=sql)
    (answer,) = client.act("CreatePreparedStatement", wire.pack(request))
    message = wire.message_class(wire.ANY).FromString(answer).value
    result = wire.message_class("ActionCreatePreparedStatementResult").FromString(message)
    handle: bytes = result.prepared_statement_handle
    return handle


def asked() -> float:
    """How many FlightInfos workers have given."""
    name = "pondflight_relay_seconds_count"
    return REGISTRY.get_sample_value(name, {"rpc": "get_flight_info"}) or 0.0


def rows(client: Client, handle: bytes) -> list[tuple[object, ...]]:
    return client.rows(command(handle))


@pytest.fixture(name="no_time_limit")
def fixture_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "SECONDS", 60.0)


@pytest.mark.usefixtures("no_time_limit")
def test_the_worker_is_not_asked_again_for_what_it_has_told(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    handle = prepare(client, "SELECT 42 AS n")
    before = asked()
    assert client.info(command(handle)).schema.names == ["n"]
    assert asked() == before
    assert rows(client, handle) == [(42,)]  # and here it is asked
    assert asked() == before + 1


@pytest.mark.usefixtures("no_time_limit")
def test_what_has_an_effect_or_parameters_is_left_to_the_worker(
    shared: Deployment, user: str
) -> None:
    client = shared.client(user)
    client.table("CREATE TABLE t (i INTEGER)")
    for sql, outcome in {
        "INSERT INTO t VALUES (1) RETURNING i": [(1,)],
        "SELECT 1; SELECT 2": [(2,)],
        "INSERT INTO t VALUES (2)": None,
    }.items():
        before = asked()
        info = client.info(command(prepare(client, sql)))
        assert asked() == before + 1
        if outcome is not None:
            ticket = info.endpoints[0].ticket
            table = client.flight.do_get(ticket, client.options()).read_all()
            assert [tuple(row.values()) for row in table.to_pylist()] == outcome
    assert client.rows("SELECT count(*) FROM t") == [(2,)]
    handle = prepare(client, "SELECT ? + 1")
    before = asked()
    client.info(command(handle))
    assert asked() == before + 1


def test_a_handle_that_is_used_later_sees_the_tables_as_they_are_then(
    shared: Deployment, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promises, "SECONDS", 0.0)  # so that later is now
    client = shared.client(user)
    client.table("CREATE TABLE t (i INTEGER)")
    handle = prepare(client, "FROM t")
    client.table("ALTER TABLE t ADD COLUMN j VARCHAR")
    assert client.info(command(handle)).schema.names == ["i", "j"]


@pytest.mark.usefixtures("no_time_limit")
def test_nobody_gets_what_was_promised_to_another(shared: Deployment, user: str) -> None:
    mine, others = shared.client(user), shared.client(f"{user}-2")
    mine.table("CREATE TABLE t AS SELECT 'mine' AS secret")
    handle = prepare(mine, "FROM t")
    with pytest.raises(pa.ArrowInvalid, match="Table with name t does not exist"):
        others.info(command(handle))
    assert rows(mine, handle) == [("mine",)]


def promise(handle: bytes = b"h") -> bytes:
    descriptor = flight.FlightDescriptor.for_command(command(handle))
    serialized: bytes = flight.FlightInfo(SCHEMA, descriptor, [], -1, -1).serialize()
    return serialized


@pytest.mark.usefixtures("no_time_limit")
def test_each_is_given_once_to_its_own_worker_and_session() -> None:
    kept = Promises()
    assert kept.keep("w", "s", [b"prepared", promise()], kept.since("w")) == [b"prepared"]
    assert kept.take("other", "s", command(b"h")) is None
    info = kept.take("w", "s", command(b"h"))
    assert info is not None
    assert info.schema == SCHEMA
    assert kept.take("w", "s", command(b"h")) is None
    kept.keep("w", "s", [b"prepared", promise()], kept.since("w"))
    assert kept.take("w", "other", command(b"h")) is None


@pytest.mark.usefixtures("no_time_limit")
def test_a_client_whose_first_call_had_no_session_is_known_again() -> None:
    kept = Promises()
    kept.keep("w", "", [b"prepared", promise()], kept.since("w"))
    assert kept.take("w", "s", command(b"h")) is not None


@pytest.mark.usefixtures("no_time_limit")
def test_only_so_many_are_kept_and_none_that_is_large() -> None:
    kept = Promises()
    for number in range(2000):
        kept.keep("w", "", [b"prepared", promise(str(number).encode())], kept.since("w"))
    assert kept.take("w", "", command(b"0")) is None
    assert kept.take("w", "", command(b"1999")) is not None
    kept.keep("w", "", [b"prepared", promise(b"x" * 100_000)], kept.since("w"))
    assert kept.take("w", "", command(b"x" * 100_000)) is None


@pytest.mark.parametrize(
    "second",
    [
        lambda: b"",
        lambda: b"\xff" * 50,
        lambda: flight.FlightInfo(
            SCHEMA, flight.FlightDescriptor.for_path("a"), [], -1, -1
        ).serialize(),
        lambda: flight.FlightInfo(
            SCHEMA, flight.FlightDescriptor.for_command(b"SELECT 1"), [], -1, -1
        ).serialize(),
    ],
    ids=["empty", "garbage", "path", "text"],
)
def test_what_is_no_promise_is_dropped(second: Callable[[], bytes]) -> None:
    kept = Promises()
    assert kept.keep("w", "", [b"prepared", second()], kept.since("w")) == [b"prepared"]


@pytest.mark.usefixtures("no_time_limit")
def test_what_changes_tables_ends_what_was_promised(shared: Deployment, user: str) -> None:
    client = shared.client(user)
    client.table("CREATE TABLE t (i INTEGER)")
    handle = prepare(client, "SELECT * FROM t")
    client.table("ALTER TABLE t ADD COLUMN s VARCHAR")
    assert client.info(command(handle)).schema.names == ["i", "s"]
