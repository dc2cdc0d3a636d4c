"""A body that is larger than it may be: received and dropped, so that its client reads the answer.

Most clients look for an answer when they have sent everything, and one that is refused before
learns no more than that the connection is broken. Behind a proxy that speaks HTTP/2 even those that
do look may lose what came early. Dropping costs neither memory nor a thread.
"""

from __future__ import annotations

import re
import time
from typing import Final

LARGEST: Final = 2 << 30
"""Bytes that are dropped. Whoever sends more than that has the answer early."""

SECONDS: Final = 60.0
"""How long it may take."""

PAUSE: Final = 2.0
"""Seconds without a byte, after which the client seems to wait for the answer."""

_LEAST_CHUNK: Final = 256
_FREE_CHUNKS: Final = 4096
"""Chunks that are smaller on average cost more than they are worth, beyond so many of them."""

CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\n]{0,200})?")
LONGEST_CHUNK_LINE: Final = 256
_LONGEST_TRAILER: Final = 8 << 10


class Oversized:
    """What is still to come of such a body.

    ``left`` is how many bytes; None for a chunked body, of which the line of a chunk comes next.
    """

    def __init__(self, left: int | None) -> None:
        self._chunked = left is None
        self._left = left or 0
        self._line = bytearray()
        self._in_trailers = False
        self._dropped = 0
        self._lines = 0
        self._began = self._heard = time.monotonic()

    @property
    def deadline(self) -> float:
        """When the client is to have its answer in any case."""
        return min(self._began + SECONDS, self._heard + PAUSE)

    def drop(self, data: bytes | bytearray) -> bool:
        """Take in what was received; whether the client is to have its answer now."""
        self._heard = time.monotonic()
        self._dropped += len(data)
        tiny = self._lines > _FREE_CHUNKS + self._dropped // _LEAST_CHUNK
        if tiny or self._dropped > LARGEST:
            return True
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                at += step
                self._left -= step
                if not self._left and not self._chunked:
                    return True
            else:
                end = data.find(b"\n", at) + 1
                self._line += data[at : end or len(data)]
                self._lines += 1
                if len(self._line) > _LONGEST_TRAILER:
                    return True
                if not end:
                    return False
                at = end
                if self._is_last(bytes(self._line)):
                    return True
                self._line.clear()
        return False

    def _is_last(self, line: bytes) -> bool:
        """Whether the body ends with this line: of a chunk, or of a trailer."""
        line = line.rstrip(b"\r\n")
        if self._in_trailers:
            return not line
        size = CHUNK_SIZE.fullmatch(line)
        if size is None:
            return True
        length = int(size[1], 16)
        self._in_trailers = not length
        self._left = length + 2 if length else 0
        return False
