"""Tokens: JWTs signed with the one secret, by us or by whoever the operator gave it to.

HS256 and nothing else, whatever the header of a token says. Every token names its user (``sub``)
and its end (``exp``). The cache is there because a client sends its token with every call: a
token that was verified once costs a hash and a look-up from then on.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import jwt

from pondflight.errors import InvalidArgument, Unauthenticated

ALGORITHM: Final = "HS256"

LEEWAY: Final = 30
"""Seconds by which the clocks of the signer and of this machine may differ."""

LONGEST_TOKEN: Final = 16 << 10
"""Bytes. Longer ones are refused before any work is done for them."""

LONGEST_SUB: Final = 256
"""Bytes of UTF-8."""

CACHED_TOKENS: Final = 1024

_SESSION_USE: Final = "session"
_LONGEST_SESSION: Final = 128
_OURS: Final = frozenset({"sub", "exp", "iat", "admin", "demo"})
_NOT_IN_SUB: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, surrogates, line separators


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token speaks for.

    ``expires_at`` is the token's ``exp``, in seconds since the epoch. ``session`` is set only by
    a session token, which is one that ``mint_session`` made.
    """

    sub: str
    claims: Mapping[str, Any] = field(repr=False)
    expires_at: float
    session: str | None = None
    admin: bool = False
    demo: bool = False


class Tokens:
    """Mints and verifies tokens with ``secret``. Safe to use from many threads.

    ``clock`` gives the seconds since the epoch.
    """

    def __init__(self, secret: str, *, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret.encode()
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, Identity] = OrderedDict()

    def verify(self, token: str) -> Identity:
        """Give the identity that ``token`` proves; ``Unauthenticated`` for everything else."""
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated
        # The digest, so that a dump of this process's memory has no cache of live tokens in it.
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            identity = self._verified.get(key)
            if identity is not None:
                self._verified.move_to_end(key)
        fresh = identity is None
        if identity is None:
            identity = self._decode(token)
        if self._clock() >= identity.expires_at + LEEWAY:
            with self._lock:
                self._verified.pop(key, None)
            raise Unauthenticated
        if fresh:
            with self._lock:
                self._verified[key] = identity
                if len(self._verified) > CACHED_TOKENS:
                    self._verified.popitem(last=False)
        return identity

    def mint(
        self, sub: str, ttl: timedelta, *, admin: bool = False, demo: bool = False, **claims: Any
    ) -> str:
        """Make a token for ``sub`` that is valid for ``ttl`` from now on.

        ``InvalidArgument`` if no token can be made for such a user or such a time.
        """
        if not valid_sub(sub):
            message = (
                f"not a user name: {LONGEST_SUB} bytes at most, not blank, no control characters"
            )
            raise InvalidArgument(message)
        if ttl < timedelta(seconds=1):
            message = "a token must be valid for at least a second"
            raise InvalidArgument(message)
        if clash := _OURS & claims.keys():
            message = f"claims that only the arguments set: {', '.join(sorted(clash))}"
            raise InvalidArgument(message)
        now = int(self._clock())
        payload = {"sub": sub, "iat": now, "exp": now + math.ceil(ttl.total_seconds())}
        payload |= {name: True for name, on in (("admin", admin), ("demo", demo)) if on}
        return self._encode(payload | claims)

    def mint_session(self, identity: Identity, session_id: str) -> str:
        """Make the token of a session: ``identity`` with all its claims and its very end.

        A client that adopts it in place of its own token gains the session and nothing else.
        """
        return self._encode({**identity.claims, "use": _SESSION_USE, "sid": session_id})

    def _encode(self, payload: dict[str, Any]) -> str:
        return jwt.encode(payload, self._secret, algorithm=ALGORITHM)

    def _decode(self, token: str) -> Identity:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                leeway=LEEWAY,
                # Tokens of an identity provider name an audience and an issuer. The secret
                # decides whom we trust, so neither is asked about.
                options={"require": ["sub", "exp"], "verify_aud": False, "verify_iss": False},
            )
            return _identity(claims)
        except Exception:  # noqa: BLE001 - whatever is wrong with a token: one answer
            raise Unauthenticated from None


def bearer(header: str | None) -> str:
    """Take the token out of the value of an ``authorization`` header: ``Bearer <token>``."""
    scheme, _, token = (header or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or not token.isascii() or " " in token:
        raise Unauthenticated
    return token


def valid_sub(sub: object) -> bool:
    """Whether ``sub`` can name a user: text that is neither blank nor long nor disguised."""
    if not isinstance(sub, str) or not sub.strip() or len(sub) > LONGEST_SUB:
        return False
    if any(unicodedata.category(character) in _NOT_IN_SUB for character in sub):
        return False
    return len(sub.encode()) <= LONGEST_SUB


def _identity(claims: dict[str, Any]) -> Identity:
    sub, exp, session = claims["sub"], claims["exp"], None
    if not valid_sub(sub) or isinstance(exp, bool) or not isinstance(exp, int | float):
        raise Unauthenticated
    # An identity provider may have a `sid` of its own: only with `use` is it one of ours.
    if claims.get("use") == _SESSION_USE:
        session = claims.get("sid")
        if not isinstance(session, str) or not 0 < len(session) <= _LONGEST_SESSION:
            raise Unauthenticated
    return Identity(
        sub=sub,
        claims=MappingProxyType(claims),
        expires_at=float(exp),
        session=session,
        admin=claims.get("admin") is True,
        demo=claims.get("demo") is True,
    )
