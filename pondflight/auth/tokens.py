"""Tokens: JWTs signed with the deployment's secret, or with a key of an identity provider.

The secret verifies HS256 and nothing else; a provider's key verifies only its own algorithm
(``pondflight.auth.keys``), whatever the token's header says. Every token names its user and its
expiry (``exp``). Clients send their token with every call, so verified tokens are cached: from the
second call on, a token costs a hash and a look-up.

Tokens that we issue carry our ``iss``. Only in them the user is always ``sub``, and only they can
be tokens of a session or of a call; issuer and audience are required of all others. Only a token
signed with the secret can make an administrator, since a provider's "admin" may mean something
else.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final

import jwt

from pondflight.auth.keys import NO_KEYS, Keys, Provider, PublicKey
from pondflight.control import Json
from pondflight.errors import InvalidArgument, Unauthenticated, Unavailable

ALGORITHM: Final = "HS256"

ISSUER: Final = "pondflight"
"""``iss`` of our own tokens."""

LEEWAY: Final = 30
"""Seconds by which the signer's clock and this machine's may differ."""

LONGEST_TOKEN: Final = 7 << 10
"""Bytes. Longer tokens are refused before any work is done for them.

gRPC accepts 8 KB of headers in all, and occasionally refuses more.
"""

LONGEST_SUB: Final = 256
"""Maximum length of a user name, in bytes of UTF-8."""

CACHED_TOKENS: Final = 1024

SESSION_SECONDS: Final = 86_400
"""Longest life of a session's token. Clients that keep using it get a new one in time."""

_SESSION_USE: Final = "session"
_CALL_USE: Final = "call"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_=.-]+", re.ASCII)
_LONGEST_SESSION: Final = 128
_OURS: Final = frozenset({"iss", "sub", "exp", "iat", "admin", "demo", "use", "sid", "claims"})
_NOT_IN_SUB: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and format characters, surrogates, line separators.

Invisible characters, and those that reorder text, make two users look alike.
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token speaks for.

    ``expires_at`` is the token's ``exp``, in seconds since the epoch. ``session`` is set only for
    session tokens (``mint_session``): ``until`` is then the ``exp`` of the token that began the
    session, and ``key`` the fingerprint of the provider's key that signed that token (empty: signed
    with the secret). ``action`` is set only for call tokens (``mint_call``): the one action that it
    allows.
    """

    sub: str
    claims: Mapping[str, object] = field(repr=False)
    expires_at: float
    until: float
    key: str = ""
    session: str | None = None
    action: str | None = None
    admin: bool = False
    demo: bool = False


class Tokens:
    """Issues tokens with ``secret``; verifies those, and the ``provider``'s with its ``keys``.

    Safe to use from many threads. ``clock`` returns seconds since the epoch.
    """

    def __init__(
        self,
        secret: str,
        provider: Provider | None = None,
        keys: Keys = NO_KEYS,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret.encode()
        self._provider = provider or Provider()
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: OrderedDict[bytes, Identity] = OrderedDict()
        self._generation = keys.generation

    def verify(self, token: str, *, calls: bool = False) -> Identity:
        """Return the identity that ``token`` proves.

        Raises ``Unauthenticated`` if it proves none, and ``Unavailable`` if the provider's keys are
        needed and could never be fetched. ``calls``: also accept tokens of ``mint_call``; the
        caller must check their action.
        """
        if not is_token(token):
            raise Unauthenticated
        # Keep only the digest, so that a memory dump of this process shows no live tokens.
        key = hashlib.sha256(token.encode()).digest()
        generation = self._keys.generation
        with self._lock:
            if generation != self._generation:
                # A key was withdrawn, and with it the tokens that it signed.
                self._generation = generation
                self._verified.clear()
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
        if identity.action is not None and not calls:
            raise Unauthenticated
        if fresh:
            with self._lock:
                if generation == self._generation:
                    self._verified[key] = identity
                if len(self._verified) > CACHED_TOKENS:
                    self._verified.popitem(last=False)
        return identity

    def mint(
        self, sub: str, ttl: timedelta, *, admin: bool = False, demo: bool = False, **claims: object
    ) -> str:
        """Return a token for ``sub`` that is valid for ``ttl`` from now on.

        Raises ``InvalidArgument`` if the user name or the time is not valid.
        """
        if not valid_sub(sub):
            message = (
                f"not a user name: {LONGEST_SUB} bytes at most, not blank, "
                "no control or invisible characters"
            )
            raise InvalidArgument(message)
        if ttl < timedelta(seconds=1):
            message = "a token must be valid for at least a second"
            raise InvalidArgument(message)
        if clash := _OURS & claims.keys():
            message = f"claims that only the arguments set: {', '.join(sorted(clash))}"
            raise InvalidArgument(message)
        now = int(self._clock())
        payload = {
            "iss": ISSUER,
            "sub": sub,
            "iat": now,
            "exp": now + math.ceil(ttl.total_seconds()),
        }
        payload |= _flags(admin=admin, demo=demo)
        return self._encode(payload | claims)

    def mint_call(self, sub: str, action: str, seconds: float) -> str:
        """Return a token for one call that is made at once: for one ``action`` of our own.

        Processes of a deployment authenticate to each other with it; it makes nobody an
        administrator.
        """
        expires_at = self._clock() + seconds
        return self._encode(
            {"iss": ISSUER, "sub": sub, "exp": expires_at, "use": _CALL_USE, "act": action}
        )

    def mint_session(self, identity: Identity, session_id: str) -> str:
        """Return a session token: ``identity`` with all its claims, valid for at most a day.

        A client that uses it in place of its own token gains the session and no other right. The
        provider's claims are nested, so none of them can pass for one of ours.
        """
        payload = {
            "iss": ISSUER,
            "sub": identity.sub,
            "exp": min(identity.until, self._clock() + SESSION_SECONDS),
            "until": identity.until,
            "key": identity.key,
            "use": _SESSION_USE,
            "sid": session_id,
            "claims": dict(identity.claims),
        }
        return self._encode(payload | _flags(admin=identity.admin, demo=identity.demo))

    def should_renew(self, identity: Identity) -> bool:
        """Return whether a session token is past half of its time and can be renewed."""
        if identity.session is None or identity.expires_at >= identity.until:
            return False
        return self._clock() > identity.expires_at - SESSION_SECONDS / 2

    def ended_session(self, token: str) -> tuple[str, str] | None:
        """Return user and session of an expired session token; None for any other token.

        It proves nothing any more. Beside a valid token of the same user, it tells which of that
        user's sessions is meant.
        """
        if not is_token(token):
            return None
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                options={"verify_aud": False, "verify_iss": False, "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return None
        if claims.get("iss") != ISSUER or claims.get("use") != _SESSION_USE:
            return None
        return claims["sub"], claims["sid"]

    def _encode(self, payload: Json) -> str:
        return jwt.encode(payload, self._secret, algorithm=ALGORITHM)

    def _decode(self, token: str) -> Identity:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") == ALGORITHM:
                return self._signed_with_secret(token)
            return self._signed_by_provider(token, header)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - whatever is wrong with a token: one answer
            raise Unauthenticated from None

    def _signed_with_secret(self, token: str) -> Identity:
        claims = _read(token, self._secret, ALGORITHM)
        if claims.get("iss") != ISSUER:
            self._provider.check(claims)
            return _identity(claims, claims[self._provider.user_claim], trusted=True)
        identity = _identity(claims, claims["sub"], trusted=True)
        use = claims.get("use")
        if use == _CALL_USE:
            return replace(identity, action=claims["act"], admin=False)
        return self._session(identity, claims) if use == _SESSION_USE else identity

    def _session(self, identity: Identity, claims: Json) -> Identity:
        session, nested, until, key = (claims[name] for name in ("sid", "claims", "until", "key"))
        if not isinstance(session, str) or not 0 < len(session) <= _LONGEST_SESSION:
            raise Unauthenticated
        if not isinstance(nested, dict) or not isinstance(until, int | float):
            raise Unauthenticated
        if key and not self._keys.holds(key):
            raise Unauthenticated  # it was withdrawn, and with it all tokens that it signed
        return replace(
            identity, session=session, claims=MappingProxyType(nested), until=until, key=key
        )

    def _signed_by_provider(self, token: str, header: Json) -> Identity:
        for key in self._keys.find(header.get("kid"), header.get("alg")):
            try:
                claims = _read(token, key.key, key.algorithm)
            except jwt.InvalidSignatureError:
                continue
            self._provider.check(claims)
            identity = _identity(claims, claims[self._provider.user_claim], trusted=False)
            return replace(identity, key=key.fingerprint)
        raise Unauthenticated


def _read(token: str, key: PublicKey | bytes, algorithm: str) -> Json:
    claims: Json = jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        leeway=LEEWAY,
        # ``Provider.check`` checks audience and issuer where they are required.
        options={"require": ["exp"], "verify_aud": False, "verify_iss": False},
    )
    return claims


def _flags(**flags: bool) -> Json:
    return {name: True for name, on in flags.items() if on}


def bearer(header: str | None) -> str:
    """Return the token in the value of an ``authorization`` header: ``Bearer <token>``."""
    scheme, _, token = (header or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not is_token(token):
        raise Unauthenticated
    return token


def is_token(text: str) -> bool:
    """Return whether ``text`` has the characters and the length of a token."""
    return len(text) <= LONGEST_TOKEN and _TOKEN.fullmatch(text) is not None


def valid_sub(sub: object) -> bool:
    """Return whether ``sub`` can name a user: not blank, not too long, no invisible characters."""
    if not isinstance(sub, str) or not sub.strip() or len(sub) > LONGEST_SUB:
        return False
    if any(unicodedata.category(character) in _NOT_IN_SUB for character in sub):
        return False
    return len(sub.encode()) <= LONGEST_SUB


def _identity(claims: Json, user: object, *, trusted: bool) -> Identity:
    exp = claims["exp"]
    if not isinstance(user, str) or not valid_sub(user):
        raise Unauthenticated
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        raise Unauthenticated
    return Identity(
        sub=user,
        claims=MappingProxyType(claims),
        expires_at=float(exp),
        until=float(exp),
        admin=trusted and claims.get("admin") is True,
        demo=trusted and claims.get("demo") is True,
    )
