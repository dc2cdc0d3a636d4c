"""Where Arrow's writers write to, and from where HTTP sends on: without a copy of the data."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_SMALL = 4 << 10


class Sink:
    """Keeps what was written until it is taken.

    Buffers of results are kept as they are; the many small pieces between them are put together.
    """

    closed = False

    def __init__(self) -> None:
        self._pieces: list[Any] = []
        self._small = bytearray()

    def file(self) -> pa.PythonFile:
        """For a writer."""
        return pa.PythonFile(self, mode="w")

    def write(self, data: Any) -> int:
        """Called by a writer."""
        if len(data) < _SMALL:
            self._small += data
        else:
            self._flush()
            self._pieces.append(data)
        return len(data)

    def take(self) -> list[Any]:
        """What was written since the last time."""
        self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    def flush(self) -> None:
        """Nothing to do; a file has it."""

    def close(self) -> None:
        """Nothing to do; a file has it."""

    def writable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is not."""
        return False

    def seekable(self) -> bool:
        """It is not."""
        return False

    def _flush(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small.clear()
