"""Each user's share of the memory that compressed uploads may take in the proxy.

The size of a batch is known only after it was decompressed; ``memory.UPLOADS`` limits the memory
for all of them. No user may hold more of it than a share, so that the rest is left to others.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from pondflight import memory
from pondflight.errors import LimitExceeded
from pondflight.units import format_size

SHARE: Final = memory.UPLOADS // 4


class Reserve:
    """The bytes that each user holds at the moment. Safe to use from many threads."""

    def __init__(self, share: int = SHARE) -> None:
        self._share = share
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, user: str, batch: pa.RecordBatch) -> Iterator[None]:
        """Count ``batch`` for the user while inside. Raises ``LimitExceeded`` above the share."""
        size = decompressed(batch)
        with self._lock:
            self._held[user] += size
            over = self._held[user] > self._share
        try:
            if size and over:
                raise LimitExceeded(
                    f"your compressed uploads take more than {format_size(self._share)} at once: "
                    "send smaller batches, fewer at once, or without compression"
                )
            yield
        finally:
            with self._lock:
                self._held[user] -= size
                if not self._held[user]:
                    del self._held[user]


def decompressed(batch: pa.RecordBatch) -> int:
    """Return the bytes of a received batch that Arrow allocated; the others are part of gRPC's."""
    buffers = (buffer for column in batch.columns for buffer in column.buffers())
    return sum(buffer.size for buffer in buffers if buffer is not None and buffer.parent is None)
