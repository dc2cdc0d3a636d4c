"""The HTTP app: routes to resources, and one form for all errors."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import falcon

from pondflight import control
from pondflight.auth.tokens import Tokens
from pondflight.errors import Internal, PondflightError
from pondflight.limits.rates import Counter
from pondflight.telemetry import tracing
from pondflight.telemetry.logs import Event, get_logger
from pondflight.web import access, console, pages, problems
from pondflight.web.ai import routes as ai
from pondflight.web.ai.callers import Places
from pondflight.web.configuration import Configuration
from pondflight.web.demo import DemoToken, NoDemoToken
from pondflight.web.health import Detailed, Health, Live, Ready
from pondflight.web.metrics import Metrics, Watch
from pondflight.web.query import Query, Session
from pondflight.web.upstream import Upstream

log = get_logger()

App = falcon.App[falcon.Request, falcon.Response]

_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


def create_app(configuration: Configuration) -> App:
    """The app that gunicorn runs."""
    if configuration.collector:
        tracing.configure(configuration.collector, "pondflight-http")
    tokens = configuration.tokens()
    upstream = Upstream(configuration.proxy, tokens, configuration.certificate())
    models = ai.models_of(configuration)
    operators = console.Operators(tokens, configuration.secret)
    places = Places()
    middleware = [Watch(), Traces(), Secure(), places, *access.middleware(configuration)]
    app = falcon.App(middleware=middleware)
    app.add_error_handler(Exception, _on_exception)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(PondflightError, _on_error)
    app.add_error_handler(problems.ProblemError, _on_problem)
    routes: dict[str, Any] = {
        "/health": Health(),
        "/live": Live(),
        "/ready": Ready(upstream),
        "/health/detailed": Detailed(upstream, configuration.ai_providers),
        "/metrics": Metrics(upstream, tokens, public=configuration.metrics_public),
        "/auth/demo-token": _demo(configuration, tokens),
        "/query": Query(upstream),
        "/session": Session(upstream),
        "/": pages.Page("index"),
        "/console": pages.Page("console"),
        "/assets/{name}": pages.Assets(),
        "/ui.json": pages.Site(
            demo=configuration.demo,
            ai=models.ready,
            ai_for_demo=configuration.ai_for_demo,
            flight_port=configuration.flight_port,
        ),
        "/console/session": console.Session(operators),
        "/console/status": console.Status(operators, upstream, configuration.statement_text),
        "/console/workers/stop": console.Change(
            operators, upstream, control.STOP_WORKER, ("worker",)
        ),
        "/console/statements/cancel": console.Change(
            operators, upstream, control.CANCEL_STATEMENT, ("worker", "statement")
        ),
        **ai.routes(configuration, models, tokens, upstream, places),
    }
    for path, resource in routes.items():
        if hasattr(resource, "on_get"):
            resource.on_head = resource.on_get
        app.add_route(path, resource)
    return app


class Traces:
    """Middleware: a span for each request, from its head to the last byte of its answer."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Begin it."""
        headers = {name.lower(): value for name, value in req.headers.items()}
        req.context.span = tracing.start(
            f"HTTP {req.method}", headers, **{"http.request.method": req.method}
        )

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, req_succeeded: object
    ) -> None:
        """End it; where pieces of a body follow, their end does."""
        span = req.context.span
        if resp.stream is not None:
            resp.stream = _Traced(resp.stream, span)
            return
        failed = resp.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
        span.end(Internal(str(resp.status)) if failed else None)


class _Traced:
    """The pieces of a body, whose end is that of a span."""

    def __init__(self, pieces: Any, span: tracing.Span) -> None:
        self._pieces = pieces
        self._span = span
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._pieces
        except Exception as error:
            self._error = error
            raise

    def close(self) -> None:
        """Called by the server, whatever became of the pieces."""
        self._pieces.close()
        self._span.end(self._error)


class Secure:
    """Middleware: headers that every answer has."""

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, req_succeeded: object
    ) -> None:
        """Add them, where the resource has not said otherwise."""
        for name, value in _HEADERS.items():
            if resp.get_header(name) is None:
                resp.set_header(name, value)


def _demo(configuration: Configuration, tokens: Tokens) -> DemoToken | NoDemoToken:
    if not configuration.demo:
        return NoDemoToken()
    return DemoToken(
        tokens,
        Counter(configuration.counters),
        access.ClientAddress(configuration.trusted_proxies),
        configuration.demo_tokens_per_hour,
    )


# -- errors, as Falcon hands them over ----------------------------------------------------------


def _answer(resp: falcon.Response, document: dict[str, Any]) -> None:
    resp.status = falcon.code_to_http_status(document["status"])
    resp.content_type = problems.MEDIA_TYPE
    resp.set_headers(problems.headers_of(document))
    resp.data = problems.encode(document)


def _on_http_error(
    _: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, __: dict[str, Any]
) -> None:
    if error.headers:
        resp.set_headers(error.headers)
    detail = error.description or problems.phrase(error.status_code)
    _answer(resp, problems.problem(error.status_code, detail))


def _on_error(
    _: falcon.Request, resp: falcon.Response, error: PondflightError, __: dict[str, Any]
) -> None:
    _answer(resp, problems.of_error(error))


def _on_problem(
    _: falcon.Request, resp: falcon.Response, error: problems.ProblemError, __: dict[str, Any]
) -> None:
    _answer(resp, error.document)


def _on_exception(
    _: falcon.Request, resp: falcon.Response, __: Exception, ___: dict[str, Any]
) -> None:
    reference = secrets.token_hex(4)
    log.exception(Event.INTERNAL_ERROR, reference=reference, where="http")  # noqa: LOG004 - in one
    text = f"internal error, reference {reference}: see the server's log"
    _answer(resp, problems.problem(500, text))
