"""The standard gRPC health service, on a port of its own: pyarrow's server cannot host it.

The servicer is our own, since that of grpcio-health-checking holds its lock while it sends, and
hangs for ever if a watcher goes away at that moment.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pondflight import threads
from pondflight.addresses import joined

SERVICES = ("", "arrow.flight.protocol.FlightService")
"""The services that may be asked for: the server as a whole, and Flight."""

Answer = health_pb2.HealthCheckResponse
Send = Callable[[Answer], None]


class HealthServer:
    """Answers Check and Watch. The status is NOT_SERVING until it is set."""

    def __init__(self, host: str, port: int) -> None:
        pool = threads.started(4, "health")
        self._servicer = _Servicer()
        self._server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        self.port = self._server.add_insecure_port(joined(host, port))
        self._server.start()

    def set_serving(self, *, serving: bool) -> None:
        """Set the status; watchers are notified if it has changed."""
        self._servicer.set_serving(serving=serving)

    def close(self) -> None:
        """Stop the server. Watchers get NOT_SERVING first."""
        self.set_serving(serving=False)
        self._server.stop(grace=0.5).wait()
        self._servicer.close()


class _Servicer(health_pb2_grpc.HealthServicer):
    """One status for all of ``SERVICES``. One thread sends all answers, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status = Answer(status=Answer.NOT_SERVING)
        self._watchers: defaultdict[str, set[Send]] = defaultdict(set)
        self._sender = threads.started(1, "health-watch")

    def Check(  # noqa: N802 - the name of the RPC
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in SERVICES:
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return self._status

    def Watch(  # type: ignore[override]  # noqa: N802
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send: Send,
    ) -> None:
        service = request.service

        def forget() -> None:
            with self._lock:
                self._watchers[service].discard(send)

        with self._lock:
            known = service in SERVICES
            if known:
                self._watchers[service].add(send)
            unknown = Answer(status=Answer.SERVICE_UNKNOWN)
            self._sender.submit(send, self._status if known else unknown)
        if not context.add_callback(forget):  # the watcher has gone already
            forget()

    # Without a thread per watcher: gRPC provides a function to send with.
    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]
    Watch.experimental_thread_pool = None  # type: ignore[attr-defined]

    def set_serving(self, *, serving: bool) -> None:
        with self._lock:
            status = Answer.SERVING if serving else Answer.NOT_SERVING
            if status == self._status.status:
                return
            self._status = Answer(status=status)
            for watchers in self._watchers.values():
                for send in watchers:
                    self._sender.submit(send, self._status)

    def close(self) -> None:
        self._sender.shutdown(wait=False, cancel_futures=True)
