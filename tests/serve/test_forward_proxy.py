"""A forward proxy in the environment stays out of every channel that is ours."""

from __future__ import annotations

import socket
import threading

import pytest
from pyarrow import flight

from tests.serve.test_serve import Serve, fixture_serve

__all__ = ["fixture_serve"]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy"])
def test_nothing_of_ours_passes_through_it(serve: Serve, variable: str) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as forward:

        def listen() -> None:
            while True:
                try:
                    connection, _ = forward.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(2)
                    asked.append(connection.recv(4096))

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{forward.getsockname()[1]}"
        served = serve("--no-caddy", **{variable: address, "no_proxy": "", "NO_PROXY": ""})
        served.wait_ready()
        assert served.get("/ready") == (200, {"ready": True})
        token = served.post("/auth/demo-token")["token"]
        assert served.post("/query", "SELECT 42 AS x", token) == {"x": 42}
        with flight.FlightClient(
            f"grpc://127.0.0.1:{served.ports['GRPC_PORT']}",
            generic_options=[("grpc.enable_http_proxy", 0)],
        ) as client:
            options = flight.FlightCallOptions(
                headers=[(b"authorization", f"Bearer {token}".encode())], timeout=30
            )
            info = client.get_flight_info(
                flight.FlightDescriptor.for_command(b"SELECT 42"), options
            )
            table = client.do_get(info.endpoints[0].ticket, options).read_all()
            assert table.column(0).to_pylist() == [42]
        forward.shutdown(socket.SHUT_RDWR)
    assert asked == []
