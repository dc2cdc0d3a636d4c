"""Which proxies have asked for this worker's status recently.

Several proxies may share a worker. A proxy that stops must not end a worker that another one uses,
and only the worker hears of them all.
"""

from __future__ import annotations

import threading
import time

_SECONDS = 30.0
"""How long a proxy counts after its last call. Health checks come every four seconds."""

_MOST = 64


class Proxies:
    """The proxies that this worker knows of. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, float] = {}

    def hear(self, proxy: str) -> int:
        """Note that ``proxy`` (its id) asks; return how many others have asked recently.

        With a minus before the id, the proxy asks for the last time.
        """
        now = time.monotonic()
        with self._lock:
            self._heard = {p: at for p, at in self._heard.items() if now - at < _SECONDS}
            if proxy.startswith("-"):
                self._heard.pop(proxy[1:], None)
            elif proxy and (proxy in self._heard or len(self._heard) < _MOST):
                self._heard[proxy] = now
            return len(self._heard) - (proxy in self._heard)
