"""Authenticates HTTP requests."""

from __future__ import annotations

from falcon.asgi import Request

from pondflight.auth.tokens import Identity, Tokens, bearer
from pondflight.web import threads


async def identify(tokens: Tokens, req: Request) -> Identity:
    """Return the identity that the request's token proves.

    Raises ``Unauthenticated`` if it is not valid. It runs in a thread, because the provider's keys
    may have to be fetched.
    """
    token = bearer(req.auth)
    return await threads.call(threads.SHORT, lambda: tokens.verify(token))
