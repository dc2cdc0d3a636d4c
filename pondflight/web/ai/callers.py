"""Who may ask a model, how often, and what it cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import falcon
from prometheus_client import Counter as Metric

from pondflight.ai.conversation import Usage
from pondflight.auth.tokens import Identity, Tokens, bearer
from pondflight.errors import LimitExceeded, PermissionDenied, Unavailable
from pondflight.limits.rates import Counter, Rate
from pondflight.web.metrics import REGISTRY

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
"""Requests that may wait for a model, or for an assistant's query, at once: each has a thread."""


class Places:
    """Keeps those who wait for models from taking all threads. Middleware: gives places back."""

    def __init__(self, most: int = AT_ONCE) -> None:
        self._free = threading.BoundedSemaphore(most)

    def enter(self, req: falcon.Request) -> None:
        """Take a place; ``Unavailable`` where all are taken."""
        if not self._free.acquire(blocking=False):
            raise Unavailable("too many requests wait for an answer: try again", retry_after=1.0)
        req.context.place = Place(self._free)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: object
    ) -> None:
        """The answer is there. What is streamed gives its place back by itself."""
        place: Place | None = getattr(req.context, "place", None)
        if place is not None and resp.stream is None:
            place.leave()


class Place:
    """One of the places; given back once."""

    def __init__(self, free: threading.BoundedSemaphore) -> None:
        self._free: threading.BoundedSemaphore | None = free

    def leave(self) -> None:
        """Give it back."""
        free, self._free = self._free, None
        if free is not None:
            free.release()


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever asks: ``token`` is theirs, for what their own worker is asked."""

    identity: Identity
    token: str


class Askers:
    """Lets in who may use models."""

    def __init__(
        self, tokens: Tokens, counter: Counter, places: Places, per_minute: int, *, demo: bool
    ) -> None:
        self._tokens = tokens
        self._places = places
        self._counter = counter
        self._rate = Rate.of("ai", per_minute, per_minute)
        self._demo = demo

    def identify(self, req: falcon.Request) -> Asker:
        """Whoever sent the request, if they may use models at all."""
        token = bearer(req.auth)
        identity = self._tokens.verify(token)
        if identity.demo and not self._demo:
            raise PermissionDenied("models are not for demo users here (auth.demo.ai)")
        return Asker(identity, token)

    def admit(self, req: falcon.Request) -> Asker:
        """The same; count the request, and give it a place."""
        asker = self.identify(req)
        wait = self._counter.take(self._rate, asker.identity.sub)
        if wait is not None:
            raise LimitExceeded(
                f"{self._rate.amount} questions a minute are the most (ai.requests_per_minute)",
                retry_after=wait,
            )
        self._places.enter(req)
        return asker


def account(provider: str, usage: Usage) -> None:
    """An answer is complete."""
    REQUESTS.labels(provider, "ok").inc()
    TOKENS.labels(provider, "input").inc(usage.input_tokens)
    TOKENS.labels(provider, "output").inc(usage.output_tokens)
