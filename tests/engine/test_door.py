from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine.guards.callers import Call, WorkerCall
from pondflight.engine.guards.door import Door
from pondflight.flightsql import wire
from tests.engine.conftest import MakeClient
from tests.flight import Client


def retire(client: Client, quiet: float) -> bool:
    (answer,) = client.act(control.RETIRE, json.dumps({"quiet": quiet}).encode())
    retired: bool = json.loads(answer)["retired"]
    return retired


def test_a_worker_closes_its_door_only_if_nobody_is_inside(make_client: MakeClient) -> None:
    pool, user = make_client(), make_client(**{control.CALL_HEADER: "call-1"})
    pool.act(control.CONFIGURE, b'{"owner": "ann"}')
    reader = user.reader("SELECT * FROM range(10000000)")
    reader.read_chunk()
    assert not retire(pool, 0.0)
    reader.read_all()
    assert not retire(pool, 60.0)
    assert user.rows("SELECT 1") == [(1,)]
    assert retire(pool, 0.0)
    assert retire(pool, 0.0)
    with pytest.raises(flight.FlightUnavailableError, match=control.RETIRED):
        user.rows("SELECT 1")
    (status,) = pool.act(control.STATUS)
    assert json.loads(status)["retired"]


def test_actions_come_by_get_flight_info_as_well(make_client: MakeClient) -> None:
    make_client().act(control.CONFIGURE, b'{"owner": "ann"}')
    kind = "CreatePreparedStatement"
    user = make_client(**{control.CALL_HEADER: "a-1"})
    quick = make_client(**{control.CALL_HEADER: "a-2", control.ACTION_HEADER: kind})
    for query in ("SELECT 42", "SELECT ?"):
        body = wire.pack(wire.new("ActionCreatePreparedStatementRequest", query=query))
        (prepared,) = user.act(kind, body)
        (endpoint,) = quick.info(body).endpoints
        assert len(endpoint.ticket.ticket) == len(prepared)  # a handle may have an id of its own
    body = wire.pack(wire.new("ActionCreatePreparedStatementRequest", query="SELECT x"))
    for ask in (lambda: user.act(kind, body), lambda: quick.info(body)):
        with pytest.raises(pa.ArrowInvalid, match='column "x" was not found'):
            ask()


def call(proxy: str) -> Call:
    return Call("do_action", {}, WorkerCall("", None, f"{proxy}-1"))


def test_rows_are_promised_only_to_the_one_proxy_whose_calls_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, slept = [1000.0], list[float]()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", slept.append)
    door = Door()
    mine, long = call("a"), call("b")
    door.enter(mine)
    assert door.promise(mine)
    door.enter(long)
    assert slept == [pytest.approx(control.PROMISE_SECONDS)]  # until then, what "a" has holds
    assert not door.promise(mine)
    assert not door.promise(long)
    now[0] += 60.0
    door.enter(mine)
    now[0] += 60.0
    assert not door.promise(mine)  # the other's call still runs, whatever it will have changed
    long.finish(None)
    assert door.promise(mine)
    assert len(slept) == 1
