"""Who may use models, how often, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from falcon.asgi import Request
from prometheus_client import Counter as Metric

from pondflight.ai.conversation import Usage
from pondflight.auth.tokens import Identity, Tokens, bearer
from pondflight.errors import LimitExceeded, PermissionDenied
from pondflight.limits.rates import Counter, Rate
from pondflight.web import callers, threads
from pondflight.web.exchange import Exchange
from pondflight.web.metrics import REGISTRY
from pondflight.web.shares import Shares

REQUESTS: Final = Metric(
    "pondflight_ai_requests",
    "Requests to a provider of models, by outcome (ok, error, cancelled).",
    ("provider", "outcome"),
    registry=REGISTRY,
)
TOKENS: Final = Metric(
    "pondflight_ai_tokens",
    "Tokens that providers counted, by direction (input, output).",
    ("provider", "direction"),
    registry=REGISTRY,
)
for _provider in ("claude", "openai"):
    for _outcome in ("ok", "error", "cancelled"):
        REQUESTS.labels(_provider, _outcome)
    for _direction in ("input", "output"):
        TOKENS.labels(_provider, _direction)


AT_ONCE: Final = 64
"""Requests that may wait for a model, or for an assistant's query, at once."""

AT_ONCE_FOR_ONE_USER: Final = 16


def places() -> Shares:
    """Return the shares that keep those who wait for models from taking all places."""
    return Shares(AT_ONCE, AT_ONCE_FOR_ONE_USER, "questions")


@dataclass(frozen=True, slots=True)
class Asker:
    """The caller of a model; ``token`` is theirs, for calls to their own worker."""

    identity: Identity
    token: str


class Askers:
    """Decides who may use models, and counts their requests."""

    def __init__(
        self, tokens: Tokens, counter: Counter, places: Shares, per_minute: int, *, demo: bool
    ) -> None:
        self._tokens = tokens
        self._places = places
        self._counter = counter
        self._rate = Rate.of("ai", per_minute, per_minute)
        self._demo = demo

    async def identify(self, req: Request) -> Asker:
        """Return the caller of the request.

        Raises ``PermissionDenied`` if they may not use models.
        """
        identity = await callers.identify(self._tokens, req)
        if identity.demo and not self._demo:
            raise PermissionDenied("models are not for demo users here (auth.demo.ai)")
        return Asker(identity, bearer(req.auth))

    async def admit(self, req: Request) -> Asker:
        """Identify the caller, count the request, and take a place for it."""
        asker = await self.identify(req)
        user = asker.identity.sub
        wait = await threads.call(threads.SHORT, lambda: self._counter.take(self._rate, user))
        if wait is not None:
            raise LimitExceeded(
                f"{self._rate.amount} questions a minute are the most (ai.requests_per_minute)",
                retry_after=wait,
            )
        Exchange.of(req).at_end(self._places.enter(user))
        return asker


def account(provider: str, usage: Usage) -> None:
    """Count a completed answer and its tokens in the metrics."""
    REQUESTS.labels(provider, "ok").inc()
    TOKENS.labels(provider, "input").inc(usage.input_tokens)
    TOKENS.labels(provider, "output").inc(usage.output_tokens)
