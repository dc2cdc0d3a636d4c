"""The operators' console: sign in, inspect, stop a worker, cancel a statement.

An administrator's token is exchanged for a cookie that scripts cannot read. The cookie is signed
with a key of its own, so it is no token, and a token is no cookie. Only our own page sends it
(SameSite=Strict). Since an old browser may not know that, a request that changes something must
also be JSON, and if the browser sends its origin, it must be ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import time
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import falcon
from falcon.asgi import Request, Response

from pondflight import __version__, control
from pondflight.auth.tokens import LEEWAY, Identity, Tokens
from pondflight.errors import PermissionDenied, Unauthenticated
from pondflight.web import threads
from pondflight.web.ai.bodies import Body, text
from pondflight.web.upstream import Upstream

COOKIE: Final = "pondflight_console"
_PATH: Final = "/console"
_LONGEST: Final = timedelta(hours=8)
_JSON: Final = "application/json"


class Operators:
    """Checks who may use the console."""

    def __init__(self, tokens: Tokens, secret: str) -> None:
        self._tokens = tokens
        key = hmac.new(secret.encode(), b"console cookie", hashlib.sha256).hexdigest()
        self._cookies = Tokens(key)
        self._ended: dict[bytes, float] = {}

    def sign_in(self, token: str) -> tuple[str, int]:
        """Return the cookie for an administrator's token, and how many seconds it is valid."""
        identity = self._tokens.verify(token.strip())
        if not identity.admin:
            raise PermissionDenied("this token is not an administrator's: pondflight token --admin")
        left = timedelta(seconds=identity.expires_at - time.time())
        ttl = max(timedelta(seconds=1), min(left, _LONGEST))
        # Unique, so that ending one does not end another.
        cookie = self._cookies.mint(identity.sub, ttl, admin=True, jti=secrets.token_hex(8))
        return cookie, int(ttl.total_seconds())

    def check(self, req: Request) -> Identity:
        """Return the operator who sent the request. Raises ``Unauthenticated`` for anyone else."""
        cookies = req.get_cookie_values(COOKIE) or []
        if len(cookies) != 1:
            raise Unauthenticated
        identity = self._cookies.verify(cookies[0])
        if not identity.admin or _digest(cookies[0]) in self._ended:
            raise Unauthenticated
        return identity

    def sign_out(self, req: Request) -> None:
        """Invalidate the cookie, and all copies of it, until this process ends."""
        now = time.time()
        for cookie in req.get_cookie_values(COOKIE) or []:
            with contextlib.suppress(Unauthenticated):
                ends = self._cookies.verify(cookie).expires_at + LEEWAY
                kept = {key: end for key, end in self._ended.items() if end > now}
                self._ended = kept | {_digest(cookie): ends}

    def check_change(self, req: Request) -> Identity:
        """Return the operator who sends a request for a change, from our own page."""
        same_origin(req)
        return self.check(req)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()


def same_origin(req: Request) -> None:
    """Refuse requests that another site's page makes a browser send.

    Without a preflight, a browser sends no JSON for it, and only GET and POST.
    """
    kind = (req.content_type or "").partition(";")[0].strip().lower()
    if req.method == "POST" and kind != _JSON:
        raise falcon.HTTPUnsupportedMediaType(description=f"send {_JSON}")
    origin = req.get_header("origin")
    site = req.get_header("sec-fetch-site")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != req.netloc.lower()
    if foreign or (site is not None and site not in ("same-origin", "none")):
        raise PermissionDenied("the console takes requests from its own page only")


class Session:
    """``/console/session``."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    async def on_post(self, req: Request, resp: Response) -> None:
        """Sign in with an administrator's token."""
        same_origin(req)
        body = await Body.of(req)
        token = body.need("token", text)
        body.done()
        cookie, seconds = await threads.call(threads.SHORT, lambda: self._operators.sign_in(token))
        _set(resp, req, cookie, seconds)
        resp.status = falcon.HTTP_204

    async def on_delete(self, req: Request, resp: Response) -> None:
        """Sign out."""
        same_origin(req)
        self._operators.sign_out(req)
        resp.unset_cookie(COOKIE, path=_PATH, same_site="Strict")
        resp.status = falcon.HTTP_204


class Status:
    """``GET /console/status``."""

    def __init__(self, operators: Operators, upstream: Upstream, statement_text: str) -> None:
        self._operators = operators
        self._upstream = upstream
        self._text = statement_text

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer with all workers and their statements."""
        self._operators.check(req)
        stats, workers, statements = await asyncio.gather(
            self._ask(control.POOL_STATUS),
            self._ask(control.WORKERS),
            self._ask(control.STATEMENTS, {"text": self._text}),
        )
        resp.media = {
            "time": time.time(),
            "version": __version__,
            "ready": stats["ready"],
            "statement_text": self._text,
            "pool": {name: stats[name] for name in ("active", "total_spawned", "total_stopped")},
            "workers": workers["workers"],
            "statements": statements["statements"],
        }

    async def _ask(self, action: str, body: dict[str, object] | None = None) -> dict[str, object]:
        return await threads.call(threads.SHORT, lambda: self._upstream.admin(action, body))


class Change:
    """``POST /console/workers/stop`` and ``POST /console/statements/cancel``."""

    def __init__(
        self, operators: Operators, upstream: Upstream, action: str, fields: tuple[str, ...]
    ) -> None:
        self._operators = operators
        self._upstream = upstream
        self._action = action
        self._fields = fields

    async def on_post(self, req: Request, resp: Response) -> None:
        """Tell the proxy to make the change."""
        self._operators.check_change(req)
        body = await Body.of(req)
        wanted: dict[str, object] = {name: body.need(name, text) for name in self._fields}
        body.done()
        if self._action == control.STOP_WORKER:
            wanted["force"] = True
        resp.media = await threads.call(
            threads.SHORT, lambda: self._upstream.admin(self._action, wanted)
        )


def _set(resp: Response, req: Request, value: str, seconds: int) -> None:
    """Set the cookie; it is Secure if the browser used TLS, wherever TLS ended."""
    forwarded = (req.get_header("x-forwarded-proto") or "").partition(",")[0].strip().lower()
    resp.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path=_PATH,
        http_only=True,
        same_site="Strict",
        secure=req.scheme == "https" or forwarded == "https",
    )
