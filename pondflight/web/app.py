"""The HTTP app: routes to resources, and one format for all errors."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Any, Final

import falcon
import falcon.asgi
from falcon.asgi import Request, Response

from pondflight import control
from pondflight.auth.tokens import Tokens
from pondflight.errors import Internal, PondflightError
from pondflight.limits.rates import Counter
from pondflight.telemetry import tracing
from pondflight.telemetry.logs import Event, get_logger
from pondflight.web import access, console, pages, problems
from pondflight.web.ai import routes as ai
from pondflight.web.configuration import Configuration
from pondflight.web.demo import DemoToken, NoDemoToken
from pondflight.web.exchange import Exchange, Exchanges
from pondflight.web.health import Detailed, Health, Live, Ready
from pondflight.web.metrics import Metrics, Watch
from pondflight.web.query import Query, Session
from pondflight.web.upstream import Upstream

log = get_logger()

_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


def create_app(configuration: Configuration) -> Exchanges:
    """Return the app that gunicorn runs."""
    if configuration.collector:
        tracing.configure(configuration.collector, "pondflight-http")
    tokens = configuration.tokens()
    upstream = Upstream(
        configuration.proxy, tokens, configuration.certificate(), configuration.connections
    )
    models = ai.models_of(configuration)
    operators = console.Operators(tokens, configuration.secret)
    middleware = [Watch(), Traces(), Secure(), *access.middleware(configuration)]
    app = falcon.asgi.App(middleware=middleware)
    app.add_error_handler(Exception, _on_exception)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(PondflightError, _on_error)
    app.add_error_handler(problems.ProblemError, _on_problem)
    routes: dict[str, Any] = {
        "/health": Health(),
        "/live": Live(),
        "/ready": Ready(upstream),
        "/health/detailed": Detailed(upstream, tokens, configuration.ai_providers),
        "/metrics": Metrics(upstream, tokens, public=configuration.metrics_public),
        "/auth/demo-token": _demo(configuration, tokens),
        "/query": Query(upstream, tokens),
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
        **ai.routes(configuration, models, tokens, upstream),
    }
    for path, resource in routes.items():
        if hasattr(resource, "on_get"):
            resource.on_head = resource.on_get
        app.add_route(path, resource)
    return Exchanges(app)


class Traces:
    """Middleware: a span for each request, from its head to the end of its answer."""

    async def process_request(self, req: Request, resp: Response) -> None:
        """Start the request's span."""
        headers = {name.lower(): value for name, value in req.headers.items()}
        req.context.span = tracing.start(
            f"HTTP {req.method}", headers, **{"http.request.method": req.method}
        )
        req.context.failure = None
        Exchange.of(req).at_end(lambda: req.context.span.end(req.context.failure))

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: object
    ) -> None:
        """Record a failure (status 500 or above) for the span."""
        if resp.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            req.context.failure = Internal(str(resp.status))


class Secure:
    """Middleware: adds security headers to every answer."""

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: object
    ) -> None:
        """Add the headers that the resource has not set itself."""
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


def _answer(resp: Response, document: dict[str, object]) -> None:
    resp.status = falcon.code_to_http_status(document["status"])
    resp.content_type = problems.MEDIA_TYPE
    resp.set_headers(problems.headers_of(document))
    resp.data = problems.encode(document)


async def _on_http_error(
    _: Request, resp: Response, error: falcon.HTTPError, __: dict[str, object]
) -> None:
    if error.headers:
        resp.set_headers(error.headers)
    detail = error.description or problems.phrase(error.status_code)
    _answer(resp, problems.problem(error.status_code, detail))


async def _on_error(
    _: Request, resp: Response, error: PondflightError, __: dict[str, object]
) -> None:
    _answer(resp, problems.of_error(error))


async def _on_problem(
    _: Request, resp: Response, error: problems.ProblemError, __: dict[str, object]
) -> None:
    _answer(resp, error.document)


async def _on_exception(_: Request, resp: Response, __: Exception, ___: dict[str, object]) -> None:
    reference = secrets.token_hex(4)
    log.exception(Event.INTERNAL_ERROR, reference=reference, where="http")  # noqa: LOG004 - in one
    text = f"internal error, reference {reference}: see the server's log"
    _answer(resp, problems.problem(500, text))
