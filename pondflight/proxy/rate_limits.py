"""What a call costs its user: rate limits count statements, not RPCs.

One ``execute`` of ADBC is four RPCs, all for one statement; a text of several statements counts as
many (``limits.statements``). A statement is charged where it runs: at GetFlightInfo of a query
(which includes one fetch of its ticket), and at DoPut of an update or an ingest. Fetching the same
ticket again runs it again, and is charged again. Reading the catalog and preparing have a limit of
their own, ten times as high; connecting and closing are free.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from pondflight.addresses import Origins
from pondflight.errors import LimitExceeded
from pondflight.limits.rates import Counter, Rate
from pondflight.proxy.callers import Call
from pondflight.telemetry import metrics
from pondflight.telemetry.logs import Event, Seldom, get_logger

log = get_logger()

_CHEAPER: Final = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Statements a minute, on average, and at once."""

    requests_per_minute: int
    burst_size: int

    def rate(self, name: str) -> Rate:
        """Return these limits as a rate for the counter."""
        return Rate.of(name, self.requests_per_minute, self.burst_size)


class Charges:
    """Counts users' statements, and refuses those over the limit."""

    def __init__(
        self, counter: Counter, everyone: Limits, demo: Limits, origins: Origins | None = None
    ) -> None:
        self._counter = counter
        self._limits = {False: everyone, True: demo}
        self._statements = {
            key: limits.rate("demo" if key else "user") for key, limits in self._limits.items()
        }
        self._catalog = {
            key: rate.times(_CHEAPER, f"{rate.name}-catalog")
            for key, rate in self._statements.items()
        }
        self._origins = origins or Origins()
        self._seldom = Seldom()

    def run(self, call: Call, statements: int = 1) -> None:
        """Count statements for the caller. Raises if the limit is reached."""
        self._take(call, self._statements, "statement", 1, statements)

    def look(self, call: Call) -> None:
        """Count a call that reads the catalog, or describes a statement without running it."""
        self._take(call, self._catalog, "catalog", _CHEAPER)

    def promised(self, call: Call, tickets: list[bytes]) -> None:
        """Record the tickets of a counted statement, so that fetching each once is free."""
        for ticket in tickets:
            self._counter.pay(_digest(ticket), call.identity.identity.sub)

    def fetch(self, call: Call, ticket: bytes) -> None:
        """The call fetches a result; if that is not paid, it runs a statement."""
        if not self._counter.spend(_digest(ticket), call.identity.identity.sub):
            self.run(call)

    def _take(
        self, call: Call, rates: dict[bool, Rate], kind: str, factor: int, amount: int = 1
    ) -> None:
        caller = call.identity
        demo, user = caller.identity.demo, caller.identity.sub
        wait = self._counter.take(rates[demo], user, amount)
        if wait is None:
            return
        metrics.RATE_LIMITED.labels(kind).inc()
        if self._seldom.is_due(user):
            log.warning(Event.RATE_LIMIT_EXCEEDED, user_id=user, address=self._origin(call))
        limits, what = self._limits[demo], "statements" if kind == "statement" else "catalog calls"
        raise LimitExceeded(
            f"{limits.requests_per_minute * factor} {what} a minute are allowed, "
            f"and {limits.burst_size * factor} at once"
            + (f"; this text has {amount}" if amount > 1 else ""),
            retry_after=max(1.0, wait),
        )

    def _origin(self, call: Call) -> str:
        peer = "" if call.context is None else call.context.peer()
        return self._origins.of(peer, call.header("x-forwarded-for") or "")


class _Free(Charges):
    """Charges without limits: counts nothing and refuses nobody."""

    def __init__(self) -> None:
        """Create it without a counter."""

    def run(self, call: Call, statements: int = 1) -> None:
        """Do nothing: statements are not counted."""

    def look(self, call: Call) -> None:
        """Do nothing: catalog calls are not counted."""

    def promised(self, call: Call, tickets: list[bytes]) -> None:
        """Do nothing: fetches are free anyway."""

    def fetch(self, call: Call, ticket: bytes) -> None:
        """Do nothing: fetches are not counted."""


FREE: Final = _Free()


def _digest(ticket: bytes) -> str:
    return hashlib.sha256(ticket).hexdigest()[:32]
