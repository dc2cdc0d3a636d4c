"""The file that Arrow's writers write to and HTTP sends from, without copying the data."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import pyarrow as pa

_SMALL = 4 << 10

Piece: TypeAlias = list[Any]
"""Objects with the buffer protocol, to be sent in this order."""


class Sink:
    """Keeps what was written until it is taken.

    Large pieces are kept as they are; the many small ones between them are joined.
    ``reuses_buffers``: the writer will reuse the buffers that it wrote from, so these have to be
    copied.
    """

    closed = False

    def __init__(self, *, reuses_buffers: bool = False) -> None:
        self._pieces: Piece = []
        self._small = bytearray()
        self._least = sys.maxsize if reuses_buffers else _SMALL

    def file(self) -> pa.PythonFile:
        """Return a pyarrow file that writes into this sink."""
        return pa.PythonFile(self, mode="w")

    def write(self, data: Any) -> int:
        """Append ``data`` and return its length in bytes. Writers call this."""
        if len(data) < self._least:
            self._small += data
        else:
            self._flush()
            self._pieces.append(data)
        return len(data)

    def take(self) -> Piece:
        """Return the pieces written since the last call, in order."""
        self._flush()
        pieces, self._pieces = self._pieces, []
        return pieces

    def flush(self) -> None:
        """Do nothing: data is already in memory. File objects need this method."""

    def close(self) -> None:
        """Do nothing: there is nothing to release. File objects need this method."""

    def writable(self) -> bool:
        """Return True: writers may write to the sink."""
        return True

    def readable(self) -> bool:
        """Return False: use ``take`` to read."""
        return False

    def seekable(self) -> bool:
        """Return False: data can only be appended."""
        return False

    def _flush(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small.clear()
