from __future__ import annotations

import json

import pytest
from pyarrow import flight

from pondflight import control
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
