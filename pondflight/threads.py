"""Thread pools that need no thread any more when something is to be run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


def started(size: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose ``size`` threads run already; ``name`` begins their names.

    By itself a pool starts them as they are needed. Where the system has none left by then,
    ``submit`` raises, though what was submitted stays in line and runs some time later. Raises
    ``RuntimeError`` if a thread cannot be started now.
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
