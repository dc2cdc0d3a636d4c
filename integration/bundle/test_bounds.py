"""What a front keeps from pondflight: calls that name nobody, and messages that are too large.

A port without a front takes them in before it can say no.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from integration.bundle.clients import connect
from integration.bundle.conftest import Start
from integration.bundle.front import NAME, Caddy, Front, Nginx, Traefik
from integration.deployment import Deployment

SERVICE = "/arrow.flight.protocol.FlightService/"
LARGE = 64 << 20
_OURS = "UNAUTHENTICATED: authentication failed"
_OUR_BOUND = "RESOURCE_EXHAUSTED: the request is larger than 16 MiB"
# Traefik answers in HTTP, which gRPC translates.
UNAUTHENTICATED = {Caddy: _OURS, Nginx: _OURS, Traefik: "UNAUTHENTICATED: "}
TOO_LARGE = {
    Caddy: _OUR_BOUND,
    Nginx: _OUR_BOUND,
    Traefik: "UNKNOWN: Received http2 header with status: 413",
}


@pytest.fixture(scope="module", name="front", params=[Caddy, Nginx, Traefik])
def fixture_front(request: pytest.FixtureRequest, start: Start, deployment: Deployment) -> Front:
    return start(request.param, deployment)


@pytest.fixture(name="channel")
def fixture_channel(front: Front) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(front.ca.encode())
    options = [("grpc.max_send_message_length", -1)]
    with grpc.secure_channel(f"{NAME}:{front.port}", credentials, options=options) as channel:
        yield channel


def call(channel: grpc.Channel, method: str, data: bytes, *headers: tuple[str, str]) -> str:
    """The status and the text of its refusal."""
    made = channel.stream_stream(SERVICE + method, bytes, bytes)(
        iter([data]), metadata=headers, timeout=60
    )
    try:
        list(made)
    except grpc.RpcError:
        return f"{made.code().name}: {made.details()}"
    return "OK"


def resident(deployment: Deployment) -> int:
    """Bytes of the proxy."""
    assert deployment.process is not None
    status = Path(f"/proc/{deployment.process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmHWM"].split()[0]) << 10


@pytest.mark.parametrize("method", ["GetFlightInfo", "DoAction", "DoPut", "Handshake"])
def test_nothing_of_a_call_without_a_token_gets_through(
    front: Front, channel: grpc.Channel, deployment: Deployment, method: str
) -> None:
    before = resident(deployment)
    assert call(channel, method, bytes(LARGE)).startswith(UNAUTHENTICATED[type(front)])
    time.sleep(0.2)
    assert resident(deployment) - before < LARGE // 4


@pytest.mark.parametrize("method", ["GetFlightInfo", "GetSchema", "DoGet", "DoAction"])
def test_a_message_that_is_too_large_does_not_get_through(
    front: Front, channel: grpc.Channel, deployment: Deployment, method: str
) -> None:
    if method == "DoGet" and isinstance(front, Traefik):
        pytest.skip("Traefik would hold back the answer, too")
    before = resident(deployment)
    token = ("authorization", f"Bearer {deployment.token('ada')}")
    assert call(channel, method, bytes(LARGE), token).startswith(TOO_LARGE[type(front)])
    time.sleep(0.2)
    assert resident(deployment) - before < LARGE // 2


def test_uploads_are_as_long_as_they_are(front: Front) -> None:
    with connect(front, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT repeat('x', 1000) AS s FROM range(100000)")
        rows = cursor.fetch_arrow_table()
        assert cursor.adbc_ingest("t", rows, mode="replace") == 100_000
