"""The thread states of gRPC's threads."""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from pyarrow import flight

from pondflight.flightsql import FlightSqlServer, Handler, wire
from pondflight.flightsql import commands as c
from pondflight.flightsql.calls import Anonymous, Call
from tests.waiting import wait_until

MOST = 16


def states() -> int:
    """How many threads Python knows."""
    api = ctypes.pythonapi
    for name in ("PyInterpreterState_Get", "PyInterpreterState_ThreadHead", "PyThreadState_Next"):
        getattr(api, name).restype = ctypes.c_void_p
    found = 0
    state = api.PyInterpreterState_ThreadHead(ctypes.c_void_p(api.PyInterpreterState_Get()))
    while state:
        found += 1
        state = api.PyThreadState_Next(ctypes.c_void_p(state))
    return found


class _Tables(Handler[None]):
    def __init__(self) -> None:
        self.local = threading.local()
        self.all_here = threading.Barrier(MOST)

    def do_get_table_types(self, call: Call[None], command: c.GetTableTypes) -> pa.Table:
        self.all_here.wait(20)
        seen = getattr(self.local, "seen", 0)
        self.local.seen = seen + 1
        return pa.table({"seen": [seen]})


def fetch(uri: str) -> int:
    ticket = flight.Ticket(wire.pack(wire.new("CommandGetTableTypes")))
    with flight.FlightClient(uri) as client:
        seen: int = client.do_get(ticket).read_all().column(0)[0].as_py()
    return seen


def test_a_thread_keeps_its_state_until_it_ends() -> None:
    handler: Any = _Tables()
    before = states()
    server = FlightSqlServer("grpc://127.0.0.1:0", authenticator=Anonymous(), handler=handler)
    uri = f"grpc://127.0.0.1:{server.port}"
    with ThreadPoolExecutor(MOST) as clients:
        assert list(clients.map(fetch, [uri] * MOST)) == [0] * MOST  # each in a thread of its own
    handler.all_here = threading.Barrier(1)
    assert any(fetch(uri) for _ in range(20))
    server.close()
    wait_until(lambda: states() <= before)
