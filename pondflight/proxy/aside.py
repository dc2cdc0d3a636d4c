"""Messages to workers that nobody waits for: cancels, and closed prepared statements.

One worker's messages must not wait for another's. A worker that hangs holds one thread, however
many messages there are for it, and each is given up after some seconds.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)

SECONDS = 5.0
"""Seconds that a message may take."""

_THREADS = 64
"""Workers that may hang at once before others have to wait; threads start as needed."""
_MOST_WAITING = 256
"""Messages per worker. Further ones are dropped: a worker that is so far behind hangs."""


class Aside:
    """Sends messages in the background, one at a time to each worker."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="relay-aside")
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def submit(self, worker: str, send: Callable[[], None]) -> bool:
        """Run ``send`` when it is this worker's turn; return False if that will never be."""
        with self._lock:
            waiting = self._waiting.get(worker)
            if waiting is not None:
                if len(waiting) >= _MOST_WAITING:
                    return False
                waiting.append(send)
                return True
            try:
                self._executor.submit(self._send_all, worker)
            except RuntimeError:  # shut down, or no thread can be started
                return False
            self._waiting[worker] = deque([send])
            return True

    def close(self) -> None:
        """Send nothing more, and wait for nothing."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _send_all(self, worker: str) -> None:
        while True:
            with self._lock:
                waiting = self._waiting.get(worker)
                if not waiting:  # no thread could be started when this was submitted
                    self._waiting.pop(worker, None)
                    return
                send = waiting.popleft()
            try:
                send()
            except Exception as error:  # noqa: BLE001  nobody waits for it
                log.debug("a message to a worker was lost: %s", error)
