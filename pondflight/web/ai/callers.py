"""Who may ask a model, how often, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import falcon
from prometheus_client import Counter as Metric

from pondflight.ai.conversation import Usage
from pondflight.errors import LimitExceeded, PermissionDenied
from pondflight.limits import Counter, Rate
from pondflight.tokens import Identity, Tokens, bearer
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


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever asks: ``token`` is theirs, for what their own worker is asked."""

    identity: Identity
    token: str


class Askers:
    """Lets in who may use models."""

    def __init__(self, tokens: Tokens, counter: Counter, per_minute: int, *, demo: bool) -> None:
        self._tokens = tokens
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
        """The same, and count the request."""
        asker = self.identify(req)
        wait = self._counter.take(self._rate, asker.identity.sub)
        if wait is not None:
            raise LimitExceeded(
                f"{self._rate.amount} questions a minute are the most (ai.requests_per_minute)",
                retry_after=wait,
            )
        return asker


def account(provider: str, usage: Usage) -> None:
    """An answer is complete."""
    REQUESTS.labels(provider, "ok").inc()
    TOKENS.labels(provider, "input").inc(usage.input_tokens)
    TOKENS.labels(provider, "output").inc(usage.output_tokens)
