"""GET /metrics: the metrics of the proxy and of this process."""

from __future__ import annotations

import time
from typing import Final

from falcon.asgi import Request, Response
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from pondflight.auth.tokens import Tokens
from pondflight.errors import PermissionDenied, PondflightError
from pondflight.web import callers, threads
from pondflight.web.upstream import Upstream

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

REGISTRY: Final = CollectorRegistry()
REQUESTS: Final = Counter(
    "pondflight_http_requests",
    "HTTP requests, by route, method and status.",
    ("route", "method", "status"),
    registry=REGISTRY,
)
SECONDS: Final = Histogram(
    "pondflight_http_request_seconds",
    "Time until the response began, by route.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
DEMO_TOKENS: Final = Counter(
    "pondflight_demo_tokens", "Demo tokens, given or refused.", ("outcome",), registry=REGISTRY
)
PROXY_UP: Final = Gauge(
    "pondflight_proxy_up", "Whether the proxy answered HTTP.", registry=REGISTRY
)
ProcessCollector(namespace="pondflight_http", registry=REGISTRY)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """``GET /metrics``. For administrators, or public, as configured."""

    def __init__(self, upstream: Upstream, tokens: Tokens, *, public: bool) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._public = public

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with the metrics of both processes in Prometheus's text format."""
        if not self._public and not (await callers.identify(self._tokens, req)).admin:
            raise PermissionDenied("metrics are for administrators (metrics.public)")
        try:
            from_proxy = await threads.call(threads.SHORT, self._upstream.metrics)
        except PondflightError:
            from_proxy = b""
        PROXY_UP.set(1 if from_proxy else 0)
        resp.content_type = MEDIA_TYPE
        resp.data = generate_latest(REGISTRY) + from_proxy


class Watch:
    """Middleware: counts requests."""

    async def process_request(self, req: Request, resp: Response) -> None:
        """Record when the request began."""
        req.context.started = time.monotonic()

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: object
    ) -> None:
        """Count the request.

        Anybody can invent paths and methods, so only known ones are labels.
        """
        route = req.uri_template or "none"
        method = req.method if req.method in _METHODS else "other"
        REQUESTS.labels(route, method, str(resp.status_code)).inc()
        SECONDS.labels(route).observe(time.monotonic() - req.context.started)
