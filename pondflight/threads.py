"""Thread pools that never need to start a thread later."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


def started(size: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose ``size`` threads run already; their names begin with ``name``.

    A normal pool starts threads as they are needed. If the system has none left then, ``submit``
    raises, although the work stays queued and runs later. Raises ``RuntimeError`` if a thread
    cannot be started now.
    """
    pool = ThreadPoolExecutor(size, thread_name_prefix=name)
    here = threading.Barrier(size + 1)
    try:
        for _ in range(size):
            pool.submit(here.wait)
    except RuntimeError:
        here.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    here.wait()
    return pool
