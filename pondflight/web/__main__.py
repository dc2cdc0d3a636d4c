"""``python -m pondflight.web``: gunicorn with the app. ``serve`` starts it; you need not."""

from __future__ import annotations

import json
import os
import signal
import sys

from pondflight import lifeline, memory

memory.tame(apart=4 << 20)

from gunicorn.app.base import BaseApplication  # noqa: E402

from pondflight.telemetry import logs  # noqa: E402

SWITCH_SECONDS = 0.0005
"""Seconds for which a thread that encodes rows may delay one that answers a health check.

With Python's own 5 ms, each step of an answer could take that long.
"""


class Server(BaseApplication):
    """One gunicorn worker with one event loop, since the app's state exists once.

    ``configuration`` is a ``web.configuration.Configuration`` as JSON. The arbiter imports nothing
    more than it needs, so that nothing is in memory twice.
    """

    def __init__(self, configuration: bytes) -> None:
        self._configuration = configuration
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's configuration."""
        options = {
            "bind": json.loads(self._configuration)["bind"],
            "workers": 1,
            "worker_class": "pondflight.web.worker.Worker",
            "backlog": 512,
            "graceful_timeout": 4,
            "timeout": 60,
            "loglevel": "warning",
            "logger_class": "pondflight.web.gunicorn_log.Logger",
            "post_fork": _die_with_serve,
            "proc_name": "pondflight-web",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> object:
        """Return the app; it is loaded after the fork, since pyarrow has threads."""
        from pondflight.web.app import create_app  # noqa: PLC0415
        from pondflight.web.configuration import Configuration  # noqa: PLC0415

        return create_app(Configuration.from_json(self._configuration))


def _die_with_serve(_arbiter: object, _worker: object) -> None:
    """End gunicorn when the pipe from ``serve`` ends. Called in the worker: the arbiter forks."""
    lifeline.on_end(lambda: os.kill(os.getppid(), signal.SIGTERM))


def main() -> None:
    """Read the settings from the pipe, and serve."""
    logs.configure()
    sys.setswitchinterval(SWITCH_SECONDS)
    Server(lifeline.first_line()).run()


main()
