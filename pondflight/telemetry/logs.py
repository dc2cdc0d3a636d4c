"""Logging: one line of logfmt for each event, to stderr.

::

    level=info msg="Container spawned" user_id=abc123 container_id=def456

Level and message come first, then the fields in the order of the call. There is no timestamp:
whatever collects stderr (journald, Docker, Kubernetes) adds its own. What libraries log or warn
comes out in the same form. A log that cannot be written is lost, and nothing else happens.

It is the standard library's logging below, which every process has loaded anyway: a worker starts
for each user, and what it need not import it need not wait for.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping
from enum import StrEnum

from pondflight.telemetry import logfmt

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_SELDOM_SECONDS = 10.0
_MOST_REMEMBERED = 10_000
_events = logging.getLogger("pondflight.events")


class Event(StrEnum):
    """All events that are logged, as constants: a search for a log message finds its source."""

    CONTAINER_SPAWNED = "Container spawned"
    CONTAINER_STOPPED = "Container stopped"
    CONTAINER_SPAWN_FAILED = "Container spawn failed"
    CONTAINER_LOG = "Container log"
    CONTAINER_ADOPTED = "Container adopted"
    CONTAINER_CLAIMED = "Container claimed"
    CONTAINER_FOREIGN = "Container has the labels of a worker, but is none"
    CONTAINER_WARMED = "Container warmed"
    ENGINE_UNREACHABLE = "Container engine unreachable"
    ENGINE_REACHABLE = "Container engine reachable again"
    WORKERS_CAN_START = "Workers can start again"
    WORKERS_CANNOT_START = "Workers cannot start"
    RESULT_CUT = "Result cut off"
    COUNTERS_LOST = "Rate limit storage unreachable"
    RATE_LIMIT_EXCEEDED = "Rate limit exceeded"
    AUTHENTICATION_FAILED = "Authentication failed"
    DEMO_TOKEN_GIVEN = "Demo token given"  # noqa: S105 - says so, is none
    SECRET_GENERATED = "JWT secret generated for this run"  # noqa: S105 - says so, is none
    STARTING = "Starting"
    READY = "Ready"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    INTERNAL_ERROR = "Internal error"
    SANDBOX_OFF = "Sandbox is switched off"
    NETWORK_FULL = "Network of the workers is full"
    NO_EFFECT = "Setting has no effect"
    DOUBTFUL = "Setting may not be what was meant"
    KEYS_FETCHED = "Identity provider keys fetched"
    KEYS_NOT_FETCHED = "Identity provider keys not fetched"
    HTTP_ENDED = "HTTP process ended unasked"
    DATABASE_ATTACHED = "Database attached"
    DATABASE_AWAY = "Database cannot be reached"
    DATABASE_REFUSED = "Database cannot be attached"
    DATABASE_READ_ONLY = "Database can only be read"
    DATABASE_OBJECT_LEFT_OUT = "Table or view left out"
    OBJECT_DROPPED = "Stored object dropped: it calls what users may not"
    OBJECT_REFUSED = "Stored object refused: it calls what users may not"
    PROXY_ENDED = "Proxy process ended unasked"
    CADDY_ENDED = "Caddy ended unasked"
    CADDY_MISSING = "Caddy not found"


class Logger:
    """Writes events with any fields."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def bind(self, **fields: object) -> Logger:
        """Return a logger that adds ``fields`` to each of its lines."""
        return Logger({**self._fields, **fields})

    def debug(self, event: Event, /, **fields: object) -> None:
        """Log an event that helps to find a fault."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: Event, /, **fields: object) -> None:
        """Log an event of normal operation."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: Event, /, **fields: object) -> None:
        """Log what somebody may have to look at."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: Event, /, **fields: object) -> None:
        """Log a failure."""
        self._log(logging.ERROR, event, fields)

    def exception(self, event: Event, /, **fields: object) -> None:
        """Log what went wrong, with the traceback of the current exception."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(
        self, level: int, event: Event, fields: Mapping[str, object], *, exc_info: bool = False
    ) -> None:
        extra = {"fields": {**self._fields, **fields}}
        _events.log(level, "%s", event, exc_info=exc_info, extra=extra)


def get_logger(**fields: object) -> Logger:
    """Return a logger that adds ``fields`` to each of its lines."""
    return Logger(fields)


class Seldom:
    """Lets a line about the same thing through every ten seconds.

    A client in a loop must not fill the disk.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_due(self, about: str) -> bool:
        """Return whether a line about that may be logged now; if so, the time starts again."""
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(about, -_SELDOM_SECONDS) < _SELDOM_SECONDS:
                return False
            if len(self._last) >= _MOST_REMEMBERED:
                self._last.clear()
            self._last[about] = now
            return True


def configure(level: str = "info") -> None:
    """Log from ``level`` (debug, info, warn, error) on. May be called again.

    Libraries log from ``warn`` on, or from ``debug`` if that is the level.
    """
    threshold = LEVELS[level]
    _events.setLevel(threshold)
    root = logging.getLogger()
    for handler in list(root.handlers):
        # Handlers that write to a terminal already would write everything twice.
        if isinstance(handler, _Handler) or type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    root.addHandler(_Handler())
    root.setLevel(threshold if threshold == logging.DEBUG else max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)


def level() -> str:
    """Return the level that was configured."""
    return next((name for name, number in LEVELS.items() if number == _events.level), "info")


_lock = threading.Lock()


def _write(text: str) -> None:
    """Write one line to the current stderr; a line that cannot be written is lost."""
    try:
        with _lock:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # A full disk, a broken pipe, a narrow encoding, or a stderr that is closed or does not
        # exist.
        pass


def _level(record: logging.LogRecord) -> str:
    heard = [name for name, number in LEVELS.items() if number <= record.levelno]
    return heard[-1] if heard else "debug"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit: what there is of it
        return str(record.msg)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the fields after level and message, whose names no other field may have."""
    if record.name != _events.name:
        return {"logger": record.name}
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return {f"{key}_" if key in {"level", "msg"} else key: fields[key] for key in fields}


class _Handler(logging.Handler):
    """Writes events, and what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: list[tuple[str, object]] = [
                ("level", _level(record)),
                ("msg", _message(record)),
                *_fields(record).items(),
            ]
            if record.exc_info:
                trace = logging.Formatter().formatException(record.exc_info)
                fields.append((logfmt.TRACE, trace))
            _write(logfmt.line(fields))
        except Exception:  # noqa: BLE001, S110 - a library's broken log call must break nothing
            pass
