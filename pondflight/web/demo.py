"""POST /auth/demo-token: a token for everyone who asks, if that is enabled."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from falcon.asgi import Request, Response

from pondflight.auth.tokens import Tokens
from pondflight.errors import LimitExceeded, NotFound
from pondflight.limits.rates import Counter, Rate
from pondflight.telemetry.logs import Event, get_logger
from pondflight.web import threads
from pondflight.web.access import ClientAddress
from pondflight.web.metrics import DEMO_TOKENS

log = get_logger()

TTL: Final = timedelta(hours=1)


class DemoToken:
    """``POST /auth/demo-token``. Public, and limited per address."""

    def __init__(
        self, tokens: Tokens, counter: Counter, address: ClientAddress, per_hour: int
    ) -> None:
        self._tokens = tokens
        self._counter = counter
        self._address = address
        self._rate = Rate("demo-token", amount=per_hour, seconds=3600)

    async def on_post(self, req: Request, resp: Response) -> None:
        """Answer with a token for an hour, for a new user."""
        address = self._address.of(req)
        wait = await threads.call(threads.SHORT, lambda: self._counter.take(self._rate, address))
        if wait is not None:
            DEMO_TOKENS.labels("refused").inc()
            raise LimitExceeded(
                f"{self._rate.amount} demo tokens an hour are the most for one address",
                retry_after=wait,
            )
        expires = datetime.now(UTC) + TTL
        user = f"demo-{secrets.token_hex(8)}"
        token = self._tokens.mint(user, TTL, demo=True)
        DEMO_TOKENS.labels("given").inc()
        log.info(Event.DEMO_TOKEN_GIVEN, user_id=user, address=address)
        resp.media = {"token": token, "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}


class NoDemoToken:
    """``POST /auth/demo-token`` while demo tokens are disabled."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Raise ``NotFound`` with the name of the setting."""
        raise NotFound("demo tokens are switched off here (auth.demo.enabled)")
