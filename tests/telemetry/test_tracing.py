from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pondflight.errors import NotFound
from pondflight.telemetry import tracing
from tests.stack import Stack
from tests.waiting import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Collector:
    """What a collector has been sent."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip  # noqa: PLC0415

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    (service,) = [
                        a.value.string_value
                        for a in resource.resource.attributes
                        if a.key == "service.name"
                    ]
                    for scope in resource.scope_spans:
                        collector.spans += [(service, span) for span in scope.spans]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(name="collector")
def fixture_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(tracing, "_tracer", None)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    collector = Collector()
    yield collector
    collector.close()


def test_trace_goes_from_the_clients_header_to_the_worker(collector: Collector) -> None:
    tracing.configure(collector.endpoint, "pondflight-proxy")
    stack = Stack(tracing=collector.endpoint, web={"collector": collector.endpoint})
    secret = "SELECT 'a secret' AS x"
    try:
        assert stack.query("alice-in-chains", secret, traceparent=PARENT).status == 200
        stack.query("alice-in-chains", "SELECT nothing", traceparent=PARENT)
        services = {"pondflight-http", "pondflight-proxy", "pondflight-worker"}

        def spans() -> list[tuple[str, Any]]:
            return [(s, span) for s, span in collector.spans if span.trace_id.hex() == TRACE]

        wait_until(lambda: {s for s, _ in spans()} == services and len(spans()) >= 8, 30)
        ours = spans()
    finally:
        stack.close()
    assert {service for service, _ in ours} == services
    by_id = {span.span_id: (service, span) for service, span in ours}
    for service, span in ours:
        if service == "pondflight-http":
            assert span.parent_span_id.hex() == "00f067aa0ba902b7"
        else:
            above = {"pondflight-proxy": "pondflight-http", "pondflight-worker": "pondflight-proxy"}
            assert by_id[span.parent_span_id][0] == above[service]
    assert any(span.status.code == 2 for _, span in ours)
    text = str(collector.spans)
    assert "a secret" not in text
    assert "alice-in-chains" not in text


def test_without_a_collector_the_header_is_passed_on() -> None:
    span = tracing.start("x", {"traceparent": PARENT, "tracestate": "a=b", "other": "c"})
    assert span.headers() == {"traceparent": PARENT, "tracestate": "a=b"}
    span.end()
    span.end(NotFound("x"))


@pytest.mark.parametrize("parent", ["", "00-x", PARENT.upper(), PARENT + "\r\nx: y", PARENT + "-"])
def test_header_that_is_none_is_dropped(parent: str) -> None:
    assert tracing.start("x", {"traceparent": parent}).headers() == {}
