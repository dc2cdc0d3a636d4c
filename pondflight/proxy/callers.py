"""Who calls, and to which session the call belongs.

The token alone decides the user, and with it the worker. The session is, in this order: the one
in a session token, which the server hands out in the ``authorization`` response header and
ADBC adopts for its connection; the one in the cookie, which JDBC keeps; else the default.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from pondflight.auth.tokens import LONGEST_TOKEN, Identity, Tokens, bearer
from pondflight.control import SESSION_COOKIE
from pondflight.errors import Unauthenticated
from pondflight.flightsql.calls import Headers
from pondflight.telemetry import metrics
from pondflight.workers.pool import User

ANY_USER = "token"
"""A user name that goes with any token, for tools that insist on one."""

_SESSION = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    ``session`` is empty for the default session; ``offered`` is the one that the response hands
    out, if it hands out any.
    """

    identity: Identity
    token: str
    session: str
    offered: str | None

    @property
    def user(self) -> User:
        """Whose worker the call goes to."""
        return User(self.identity.sub, self.identity.claims, self.identity.demo)


class CallerCheck:
    """The proxy's ``Authenticator``."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def authenticate(self, method: str, headers: Headers) -> Caller:
        """The caller behind a Bearer token, or behind a token as the password of Basic.

        The user name that goes with a password is ``token`` or the token's own ``sub``.
        """
        try:
            user, token = _credentials(headers)
            identity = self._tokens.verify(token)
            if user not in (None, ANY_USER, identity.sub):
                raise Unauthenticated  # noqa: TRY301  counted with the others
        except Unauthenticated:
            metrics.AUTH_FAILURES.inc()
            raise
        session = identity.session or _cookie(headers) or ""
        offered = None if session else secrets.token_urlsafe(16)
        return Caller(identity, token, session, offered)

    def response_headers(self, method: str, headers: Headers, caller: Caller) -> Mapping[str, str]:
        """A session for a client that has none."""
        if caller.offered is None:
            return {"authorization": f"Bearer {caller.token}"} if method == "handshake" else {}
        token = self._tokens.mint_session(caller.identity, caller.offered)
        if len(token) > LONGEST_TOKEN:  # it would be refused when it comes back
            token = caller.token
        return {
            "authorization": f"Bearer {token}",
            "set-cookie": f"{SESSION_COOKIE}={caller.offered}",
        }


def _credentials(headers: Headers) -> tuple[str | None, str]:
    """User name, if one was sent, and token."""
    for value in headers.get("authorization", []):
        scheme, _, rest = value.strip().partition(" ")
        return _basic(rest.strip()) if scheme.lower() == "basic" else (None, bearer(value))
    raise Unauthenticated


def _basic(encoded: str) -> tuple[str, str]:
    """User name and password of Basic credentials; some clients leave out base64's padding."""
    try:
        padded = encoded.rstrip("=")
        padded += "=" * (-len(padded) % 4)
        # A sub may have colons in it, a token has none.
        user, colon, password = base64.b64decode(padded, validate=True).decode().rpartition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Unauthenticated from None
    if not colon or not user:
        raise Unauthenticated
    return user, password


def _cookie(headers: Headers) -> str | None:
    for value in headers.get("cookie", []):
        try:
            # Java sends name="value";$Path="/"
            morsel = SimpleCookie(value).get(SESSION_COOKIE)
        except CookieError:
            continue
        if morsel is not None and _SESSION.fullmatch(morsel.value):
            return morsel.value
    return None
