from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pondflight.serve.health import SERVICES, HealthServer

Answer = health_pb2.HealthCheckResponse


@pytest.fixture(name="health")
def fixture_health() -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1", 0)
    yield server
    server.close()


@pytest.fixture(name="stub")
def fixture_stub(health: HealthServer) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{health.port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("service", SERVICES)
def test_it_does_not_serve_until_told_so(health: HealthServer, stub: Any, service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    watch = stub.Watch(request, timeout=30)
    assert next(watch).status == Answer.NOT_SERVING
    health.set_serving(serving=True)
    assert next(watch).status == Answer.SERVING
    assert stub.Check(request).status == Answer.SERVING
    health.set_serving(serving=False)
    assert next(watch).status == Answer.NOT_SERVING
    assert stub.Check(request).status == Answer.NOT_SERVING


def test_many_watchers_leave_room_for_checks(stub: Any) -> None:
    request = health_pb2.HealthCheckRequest()
    watches = [stub.Watch(request, timeout=30) for _ in range(50)]
    for watch in watches:
        assert next(watch).status == Answer.NOT_SERVING
    assert stub.Check(request, timeout=5).status == Answer.NOT_SERVING


def test_watchers_that_go_away_hold_up_nobody(health: HealthServer) -> None:
    request = health_pb2.HealthCheckRequest()
    for _ in range(20):
        with grpc.insecure_channel(f"127.0.0.1:{health.port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watches = [stub.Watch(request) for _ in range(10)]
            for watch in watches:
                next(watch)
            threading.Thread(target=channel.close).start()
            for serving in (True, False):
                health.set_serving(serving=serving)


def test_an_unknown_service_is_not_found(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"))
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.NOT_FOUND
