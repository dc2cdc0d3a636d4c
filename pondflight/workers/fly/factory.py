"""Makes the backend ``fly`` from the settings."""

from __future__ import annotations

from dataclasses import replace

from pondflight.settings import Settings
from pondflight.workers.backends.container import Layout
from pondflight.workers.engines import PondflightEngine
from pondflight.workers.fly.api import Access, FlyApi
from pondflight.workers.fly.backend import FlyBackend
from pondflight.workers.fly.machine import LISTEN, Placement


def create(settings: Settings, layout: Layout, instance: str) -> FlyBackend:
    """Return the backend; nothing is sent to Fly.io yet."""
    fly, engine = settings.fly, layout.engine
    if isinstance(engine, PondflightEngine):  # settings allow no other
        layout = replace(layout, engine=replace(engine, host=LISTEN))
    token = fly.token.get_secret_value() if fly.token else ""
    return FlyBackend(
        FlyApi(Access(fly.app, token, fly.url)),
        layout,
        instance,
        Placement(fly.region, fly.cpu_kind),
        start_seconds=settings.workers.start_timeout.total_seconds(),
    )
