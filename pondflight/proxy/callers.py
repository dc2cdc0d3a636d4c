"""Who calls, and to which session the call belongs.

The token alone decides the user, and with it the worker. The session is the first of these: the one
in a session token, which the server sends in the ``authorization`` response header and ADBC adopts
for its connection; the one in the cookie, which JDBC keeps; else the default.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie
from typing import TypeAlias

from pondflight.auth.tokens import LONGEST_TOKEN, Identity, Tokens, bearer
from pondflight.control import SESSION_COOKIE
from pondflight.errors import Unauthenticated
from pondflight.flightsql import calls
from pondflight.flightsql.calls import Headers
from pondflight.telemetry import metrics
from pondflight.workers.pool import User

_MOST_CREDENTIALS = 8
"""Values of ``authorization`` in one call. No client is known to send more than three."""

ANY_USER = "token"
"""A user name that goes with any token, for tools that insist on one."""

_BEARER = "Bearer "
_SESSION = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    ``user`` is the one whose worker gets the call. ``session`` is empty for the default session;
    ``offered`` is the one that the response hands out, if it hands out any. ``renew``: it hands out
    another token of ``session``.
    """

    identity: Identity
    user: User
    token: str
    session: str
    offered: str | None = None
    renew: bool = False


Call: TypeAlias = calls.Call[Caller]


class CallerCheck:
    """The proxy's ``Authenticator``."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def authenticate(self, method: str, headers: Headers) -> Caller:
        """Return the caller behind a Bearer token, or behind a token as the password of Basic.

        The user name beside such a password is ``token`` or the token's own ``sub``. Clients that
        fetch tokens themselves (OAuth) send theirs beside ours, in any order; all must belong to
        one user.
        """
        try:
            values = headers.get("authorization", ())
            if len(values) == 1 and values[0].startswith(_BEARER) and "," not in values[0]:
                caller = self._alone(values[0][len(_BEARER) :].strip())
            else:
                caller = self._agreed(_credentials(values))
            if caller.identity.action is not None and method != "do_action":
                raise Unauthenticated  # noqa: TRY301  counted with the others
        except Unauthenticated:
            metrics.AUTH_FAILURES.inc()
            raise
        if caller.session:
            return caller
        session = _cookie(headers) or ""
        offered = None if session else secrets.token_urlsafe(16)
        return replace(caller, session=session, offered=offered)

    def response_headers(self, method: str, headers: Headers, caller: Caller) -> Mapping[str, str]:
        """Return a session for a client without one, or a new token for one that ends soon."""
        if caller.renew:
            token = self._tokens.mint_session(caller.identity, caller.session)
            return {"authorization": f"Bearer {token}"} if len(token) <= LONGEST_TOKEN else {}
        if caller.offered is None:
            return {"authorization": f"Bearer {caller.token}"} if method == "handshake" else {}
        token = self._tokens.mint_session(caller.identity, caller.offered)
        if len(token) > LONGEST_TOKEN:  # the proxy itself would refuse it
            token = caller.token
        return {
            "authorization": f"Bearer {token}",
            "set-cookie": f"{SESSION_COOKIE}={caller.offered}",
        }

    def _alone(self, token: str) -> Caller:
        """Return the caller of a call with one token, as ``_agreed`` would: nearly all calls."""
        identity = self._tokens.verify(token, calls=True)
        renew = self._tokens.should_renew(identity)
        return Caller(identity, _user(identity), token, identity.session or "", None, renew)

    def _agreed(self, sent: Sequence[tuple[str | None, str]]) -> Caller:
        """Return the caller and session for which the tokens of one call speak, in any order."""
        found: dict[str, Identity] = {}
        ended: list[tuple[str, str]] = []
        for user, token in sent:
            try:
                identity = self._tokens.verify(token, calls=True)
            except Unauthenticated:
                # The session goes on for a client that has got itself a new token meanwhile.
                session = self._tokens.ended_session(token)
                if session is None:
                    raise
                ended.append(session)
                continue
            if user not in (None, ANY_USER, identity.sub):
                raise Unauthenticated
            found[token] = identity
        users = {(who.sub, who.admin, who.demo, who.action) for who in found.values()}
        sessions = {who.session for who in found.values() if who.session is not None}
        sessions |= {session for _, session in ended}
        if len(users) != 1 or len(sessions) > 1:
            raise Unauthenticated
        # Of a session's token and the token that it was made from, the latter may be newer.
        token, identity = max(
            found.items(), key=lambda pair: (not pair[1].session, pair[1].until, pair[0])
        )
        if any(sub != identity.sub for sub, _ in ended):
            raise Unauthenticated
        renew = bool(ended) or any(map(self._tokens.should_renew, found.values()))
        return Caller(identity, _user(identity), token, next(iter(sessions), ""), None, renew)


def _user(identity: Identity) -> User:
    return User(identity.sub, identity.claims, identity.demo)


def _credentials(values: Sequence[str]) -> list[tuple[str | None, str]]:
    """Return the user name, if one was sent, and the token of each value.

    Some fronts join the values with commas.
    """
    found: list[tuple[str | None, str]] = []
    for value in ",".join(values).split(","):
        scheme, _, rest = value.strip().partition(" ")
        basic = scheme.lower() == "basic"
        found.append(_basic(rest.strip()) if basic else (None, bearer(value)))
    if not 0 < len(found) <= _MOST_CREDENTIALS:
        raise Unauthenticated
    return found


def _basic(encoded: str) -> tuple[str, str]:
    """Return user name and password of Basic credentials; some clients omit base64's padding."""
    try:
        padded = encoded.rstrip("=")
        padded += "=" * (-len(padded) % 4)
        # A sub may contain colons, a token cannot.
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
