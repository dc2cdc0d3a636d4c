"""The standard gRPC health service, on a port of its own: pyarrow's server cannot host it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICES = ("", "arrow.flight.protocol.FlightService")
"""What may be asked for: the server as a whole, and Flight."""


class HealthServer:
    """Answers Check and Watch. NOT_SERVING until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        threads = ThreadPoolExecutor(4, thread_name_prefix="health")
        self._servicer = health.HealthServicer(
            experimental_non_blocking=True,
            experimental_thread_pool=ThreadPoolExecutor(2, thread_name_prefix="health-watch"),
        )
        self._server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        self.set_serving(serving=False)
        self.port = self._server.add_insecure_port(f"{host}:{port}")
        self._server.start()

    def set_serving(self, *, serving: bool) -> None:
        """Tell everyone who asks or watches."""
        answers = health_pb2.HealthCheckResponse
        status = answers.SERVING if serving else answers.NOT_SERVING
        for service in SERVICES:
            self._servicer.set(service, status)

    def close(self) -> None:
        """Stop answering; watchers are cut off."""
        self.set_serving(serving=False)
        self._server.stop(grace=0.5).wait()
