"""gunicorn's worker class: uvicorn, with the connection limits of ``connection.Connection``."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
from typing import Final

from uvicorn_worker import UvicornWorker

from pondflight.telemetry.logs import Event, get_logger
from pondflight.web.connection import MOST_CONNECTIONS, Connection

log = get_logger()

LONGEST_HEAD: Final = 32 << 10
"""Bytes of a request line and its headers. Half of that is room for the largest token."""

GRACEFUL_SECONDS: Final = 3


class Worker(UvicornWorker):
    """A process with one event loop."""

    CONFIG_KWARGS: dict[str, object] = {  # noqa: RUF012 - uvicorn's own attribute
        "access_log": False,
        "h11_max_incomplete_event_size": LONGEST_HEAD,
        "http": Connection,
        "lifespan": "off",
        "loop": "asyncio",
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": GRACEFUL_SECONDS,
        "ws": "none",
    }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        # ``Exchange`` logs what the app raises. Everything else here is caused by clients' input.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    def init_process(self) -> None:
        """Raise the limit on open files; gunicorn calls this after the fork."""
        _allow_descriptors(MOST_CONNECTIONS)
        super().init_process()

    def init_signals(self) -> None:
        """Set the handlers of signals; gunicorn calls this."""
        super().init_signals()
        # uvicorn raises SIGTERM again when it has stopped. The process must not end then: cancelled
        # requests still have to abort their connections.
        signal.signal(signal.SIGTERM, self.handle_exit)

    def run(self) -> None:
        """Serve until gunicorn sends SIGTERM."""
        code: object = 0
        try:
            super().run()
        except SystemExit as error:
            code = error.code
        except Exception:
            log.exception(Event.INTERNAL_ERROR, where="http")
            code = 1
        # Not sys.exit, which would wait for threads, and they for statements.
        os._exit(code if isinstance(code, int) else 1)


def _allow_descriptors(connections: int) -> None:
    """Allow that many sockets, whatever the shell's limit is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
