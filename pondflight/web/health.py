"""Health: whether the process runs, whether it can work, and the state of its parts."""

from __future__ import annotations

import time

import falcon
from falcon.asgi import Request, Response

from pondflight.auth.tokens import Tokens
from pondflight.control import Json
from pondflight.errors import PondflightError
from pondflight.web import callers, threads
from pondflight.web.upstream import Upstream


class Health:
    """``GET /health``: this process answers. Public."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer that the process is healthy; it could not answer otherwise."""
        resp.media = {"status": "healthy"}


class Live:
    """``GET /live``: this process answers; a restart would not help. Public."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer that the process is alive; it could not answer otherwise."""
        resp.media = {"live": True}


class Ready:
    """``GET /ready``: workers can be started; 503 before that and while stopping. Public."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer whether the proxy is ready: 200 or 503."""
        ready = await threads.call(threads.SHORT, self._upstream.ready)
        resp.media = {"ready": ready}
        resp.status = falcon.HTTP_200 if ready else falcon.HTTP_503


class Detailed:
    """``GET /health/detailed``: the parts, one by one. Public, without anything secret.

    Only administrators see the names of databases, which not every user may know.
    """

    def __init__(
        self, upstream: Upstream, tokens: Tokens, ai_providers: tuple[tuple[str, bool], ...]
    ) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._ai = {
            name: {"status": "configured" if has_key else "not_configured"}
            for name, has_key in ai_providers
        }
        self._started = time.monotonic()

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer 200 in any case: the document says what is wrong."""
        try:
            status = await threads.call(threads.SHORT, self._databases)
        except PondflightError:
            status = {}
        if not await self._is_administrators(req):
            for database in status.get("databases", []):
                del database["alias"]
        resp.media = self._document(status)

    async def _is_administrators(self, req: Request) -> bool:
        if not req.auth:
            return False
        try:
            return (await callers.identify(self._tokens, req)).admin
        except PondflightError:  # it is public: a wrong token changes nothing
            return False

    def _databases(self) -> Json:
        return self._upstream.pool_status(databases=True)

    def _document(self, status: Json) -> Json:
        components = {
            "proxy": {"status": _proxy_status(status)},
            "backend": status.get("backend", {"status": "unknown"}),
            "databases": status.get("databases", []),
            "ai": self._ai,
        }
        parts = [components["backend"], *components["databases"]]
        if not status:
            overall = "unhealthy"
        elif not status["ready"] or any(part["status"] == "unavailable" for part in parts):
            overall = "degraded"
        else:
            overall = "healthy"
        return {
            "status": overall,
            "containers": {
                name: status.get(name, 0) for name in ("active", "total_spawned", "total_stopped")
            },
            "uptime_seconds": int(status.get("uptime_seconds", time.monotonic() - self._started)),
            "queue": status.get("queue", {"starting": 0, "waiting": 0}),
            "components": components,
        }


def _proxy_status(status: Json) -> str:
    if not status:
        return "unavailable"
    return "draining" if status.get("draining") else "available"
