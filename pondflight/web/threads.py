"""Thread pools for blocking calls, so that the event loop never blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

SHORT: Final = ThreadPoolExecutor(32, thread_name_prefix="short")
"""For short calls: verifying tokens, rate limits, the proxy's state."""

RESULTS: Final = ThreadPoolExecutor(256, thread_name_prefix="results")
"""For ``POST /query``: a result holds a thread while rows are awaited or encoded, and none while
they are sent."""

READS: Final = ThreadPoolExecutor(64, thread_name_prefix="reads")
"""For the queries of models and assistants."""


async def call(
    pool: ThreadPoolExecutor,
    function: Callable[[], T],
    stop: Callable[[], None] | None = None,
) -> T:
    """Return what ``function`` returns when a thread of ``pool`` runs it.

    If the caller is cancelled meanwhile, ``stop`` must make the function return soon. The caller
    waits for that, so that it can then close what the function worked on.
    """
    future = asyncio.wrap_future(pool.submit(function))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if stop is not None and not future.done():
            stop()
            await asyncio.wait([future])
        if future.done() and not future.cancelled():
            future.exception()  # nobody else retrieves it
        raise
