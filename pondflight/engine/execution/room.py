"""Where rows are set aside: in memory while there is room, then in the scratch directory."""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import IO

import pyarrow as pa

from pondflight.errors import LimitExceeded
from pondflight.units import format_size

MEMORY = 32 << 20
"""Bytes of memory for all rows that a worker has set aside."""

DISK = 4 << 30
"""Bytes of the scratch directory for the rows of one result."""

_WRITING = pa.ipc.IpcWriteOptions(compression="lz4")


class Room:
    """A worker's room for rows that are set aside; ``memory`` is in bytes, for all results."""

    def __init__(self, folder: Path, memory: int = MEMORY, disk: int = DISK) -> None:
        self.folder = folder
        self.disk = disk
        self.used = 0
        """Bytes of memory that are taken."""
        self.memory = memory
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take ``size`` bytes of memory; return whether there were as many."""
        with self._lock:
            if self.used + size > self.memory:
                return False
            self.used += size
            return True

    def give_back(self, size: int) -> None:
        """Give ``size`` bytes back."""
        with self._lock:
            self.used -= size


class Shelf:
    """Batches of one result, first in, first out. Use it from one thread at a time."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._batches: deque[pa.Buffer | tuple[int, int]] = deque()
        self._file: IO[bytes] | None = None
        self._end = 0

    def __len__(self) -> int:
        return len(self._batches)

    def put(self, batch: pa.RecordBatch) -> None:
        """Add a batch at the end.

        Raises ``LimitExceeded`` if one result takes too much disk space, and ``OSError`` if the
        disk is full or broken.
        """
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=_WRITING) as writer:
            writer.write_batch(batch)
        data = sink.getvalue()
        if self._room.take(data.size):
            self._batches.append(data)
            return
        if self._end + data.size > self._room.disk:
            raise LimitExceeded(f"there are more than {format_size(self._room.disk)} of them")
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._room.folder)  # noqa: SIM115
        self._file.seek(self._end)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._batches.append((self._end, data.size))
        self._end += data.size

    def take(self) -> pa.RecordBatch | None:
        """Remove and return the first batch; ``None`` if there is none.

        Raises ``OSError`` or ``pa.ArrowException`` if it cannot be read again.
        """
        if not self._batches:
            return None
        data = self._batches.popleft()
        if isinstance(data, tuple):
            assert self._file is not None
            start, size = data
            self._file.seek(start)
            found = self._file.read(size)
            if len(found) < size:
                raise OSError("a file in the scratch directory is shorter than it was")
            return pa.ipc.open_stream(found).read_next_batch()
        self._room.give_back(data.size)
        return pa.ipc.open_stream(data).read_next_batch()

    def clear(self) -> None:
        """Drop all batches, and give their room back."""
        batches, self._batches = self._batches, deque()
        self._room.give_back(sum(b.size for b in batches if not isinstance(b, tuple)))
        if self._file is not None:
            self._file.close()
            self._file = None
        self._end = 0
