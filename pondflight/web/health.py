"""Whether it is up, and whether it can work."""

from __future__ import annotations

import falcon

from pondflight.web.upstream import Upstream


class Health:
    """``GET /health``: this process answers. Public."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Always healthy: whoever is not cannot answer."""
        resp.media = {"status": "healthy"}


class Ready:
    """``GET /ready``: statements can be run; 503 while starting and while stopping. Public."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ask the proxy."""
        ready = self._upstream.ready()
        resp.media = {"ready": ready}
        resp.status = falcon.HTTP_200 if ready else falcon.HTTP_503
