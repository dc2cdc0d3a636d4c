"""The HTTP app: routes to resources."""

from __future__ import annotations

from typing import Any

import falcon

from pondflight.web.health import Health, Ready
from pondflight.web.upstream import Upstream


def create_app(configuration: dict[str, Any]) -> falcon.App[Any, Any]:
    """The app that gunicorn runs.

    ``configuration``: ``proxy`` (Flight URI of the proxy), ``certificate`` (``chain`` in PEM and
    ``name``, where the proxy has TLS; else None) and ``jwt_secret``.
    """
    upstream = Upstream(
        configuration["proxy"], configuration["jwt_secret"], configuration["certificate"]
    )
    app = falcon.App()
    app.add_route("/health", Health())
    app.add_route("/ready", Ready(upstream))
    return app
