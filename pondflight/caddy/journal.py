"""Caddy's log as lines of ours: JSON in, logfmt out, limited to what an operator needs."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable

from pondflight.control import Json

_STARTED = "serving initial configuration"
_LEVELS = {"debug": logging.WARNING, "warn": logging.WARNING}
"""Python's level for each of Caddy's.

The only ``debug`` lines that the Caddyfile allows are those of failed handshakes.
"""

_FAILED = 400
"""The lowest HTTP status that counts as a failure."""


def relay(lines: Iterable[bytes], ending: threading.Event) -> None:
    """Log the important lines until there are no more.

    ``ending`` is set when Caddy was told to end.
    """
    started = False
    for line in lines:
        try:
            entry = _parse(line)
            # While starting, Caddy warns of what we configured on purpose; while ending, it says
            # goodbye.
            if (started and not ending.is_set()) or entry["level"] == "error":
                _log(entry)
            started = started or entry.get("msg") == _STARTED
        except Exception:  # if this thread stopped reading, Caddy would stop
            logging.getLogger("caddy").exception("a line of its log cannot be read")


def _parse(line: bytes) -> Json:
    text = line.decode("utf-8", "replace").strip()
    try:
        entry = json.loads(text)
        return {"level": str(entry["level"]), **entry}
    except (ValueError, TypeError, KeyError):
        return {"level": "error", "msg": text}  # a complaint from before its log was set up


def _log(entry: Json) -> None:
    request = entry.get("request")
    text = str(entry.get("msg", ""))
    level = _LEVELS.get(entry["level"], logging.ERROR)
    if isinstance(request, dict) and "status" in entry:
        cause = entry.get("cause")
        if entry["status"] < _FAILED and cause is None:
            return
        text = (
            f"{request.get('method')} {request.get('host')}{request.get('uri')} from "
            f"{request.get('remote_ip')}: {cause or entry['status']}"
        )
        level = logging.WARNING
    elif entry["level"] == "info":
        return
    if "error" in entry:
        text = f"{text}: {entry['error']}"
    logging.getLogger(f"caddy.{entry.get('logger', 'caddy')}").log(level, "%s", text)
