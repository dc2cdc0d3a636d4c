"""A request on its way in: enough of HTTP/1.1's framing to know when all of it has come.

The loop reads requests and hands over whole ones only, so that a client which sends slowly costs
a buffer and not a thread. What a request means is not decided here: gunicorn's parser reads the
same bytes again. Where the two could disagree about where a request ends, it is refused here. A
body that is too large is refused when it has come, and not kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from pondflight.web import oversized
from pondflight.web.oversized import CHUNK_SIZE, LONGEST_CHUNK_LINE, Oversized
from pondflight.web.problems import problem

MAX_HEAD: Final = 32 << 10
"""Bytes of request line and headers. A token may take half of it."""

MAX_BODY: Final = 4 << 20
"""Bytes of a body."""

HEAD_SECONDS: Final = 10.0
"""How long a request line and its headers may take to arrive."""

BODY_SECONDS: Final = 20.0
BODY_BYTES_PER_SECOND: Final = 32 << 10
"""A body may take ``BODY_SECONDS``, and a second more for each so many bytes that came."""

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not read any further: a problem document."""

    document: dict[str, object]

    @classmethod
    def of(cls, status: int, detail: str, **members: Any) -> Refusal:
        """A refusal with this status."""
        return cls(problem(status, detail, **members))


TOO_LARGE: Final = Refusal.of(413, f"the body is over the limit of {MAX_BODY >> 20} MiB")
HEAD_TOO_LARGE: Final = Refusal.of(
    431, f"request line and headers are over the limit of {MAX_HEAD >> 10} KiB"
)
AMBIGUOUS: Final = Refusal.of(
    400,
    "the length of the body is ambiguous: send one Content-Length, or Transfer-Encoding: chunked",
)
BAD_CHUNKS: Final = Refusal.of(400, "the chunked body is malformed")
TOO_SLOW: Final = Refusal.of(408, "the request did not arrive in time")
NO_ROOM: Final = Refusal.of(
    503, "too many large requests at once: try again in a moment", retry_after=1
)


class Intake:
    """The bytes of one request, and what is still missing.

    ``started`` is the time (monotonic, in seconds) of the first byte; ``read`` holds what came
    behind the request before.
    """

    def __init__(self, started: float, read: bytes = b"") -> None:
        self._started = started
        self._buffer = bytearray(read)
        self._head_end = 0
        self._end: int | None = None
        self._chunked = False
        self._chunk_at = 0
        self._body_bytes = 0
        self._oversized: Oversized | None = None
        self.wants_continue = False
        """The client waits for "100 Continue" before it sends the body. Reset by the reader."""

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def deadline(self) -> float:
        """When the request must be complete, as far as is known now."""
        if not self._head_end:
            return self._started + HEAD_SECONDS
        if self._oversized is not None:
            return self._oversized.deadline
        body = len(self._buffer) - self._head_end
        return self._started + HEAD_SECONDS + BODY_SECONDS + body / BODY_BYTES_PER_SECOND

    @property
    def overdue(self) -> Refusal:
        """What to say at the deadline."""
        return TOO_SLOW if self._oversized is None else TOO_LARGE

    def feed(self, data: bytes) -> Refusal | None:
        """Take in what was received; a refusal if the request must not go on."""
        if self._oversized is not None:
            return TOO_LARGE if self._oversized.drop(data) else None
        self._buffer += data
        if not self._head_end:
            refusal = self._find_head()
            if refusal is not None or not self._head_end:
                return refusal
        if self._chunked and self._end is None:
            return self._find_last_chunk()
        return None

    @property
    def complete(self) -> bool:
        """Whether all of the request is here."""
        return self._end is not None and len(self._buffer) >= self._end

    def take(self) -> tuple[bytes, bytes]:
        """The request, and what came behind it. Once, when it is complete."""
        assert self._end is not None
        return bytes(self._buffer[: self._end]), bytes(self._buffer[self._end :])

    def _find_head(self) -> Refusal | None:
        buffer = self._buffer
        skip = 2 if buffer.startswith(b"\r\n") else 0  # RFC 9112, 2.2: one empty line before it
        end = buffer.find(b"\r\n\r\n", skip)
        limit = end if end >= 0 else len(buffer)
        if limit > MAX_HEAD:
            return HEAD_TOO_LARGE
        if _BARE_LF.search(buffer, 0, limit):
            self._head_end = self._end = len(buffer)  # the parser refuses it
            return None
        if end < 0:
            return None
        self._head_end = end + 4
        return self._read_head(bytes(buffer[skip:end]))

    def _read_head(self, head: bytes) -> Refusal | None:
        request_line, *lines = head.split(b"\r\n")
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
        lengths = fields.get(b"content-length", [])
        codings = fields.get(b"transfer-encoding", [])
        expect = [value.lower() for value in fields.get(b"expect", [])]
        waits = expect == [b"100-continue"] and request_line.endswith(b"HTTP/1.1")
        self._end = self._head_end
        if codings:
            if lengths or [coding.lower() for coding in codings] != [b"chunked"]:
                return AMBIGUOUS
            self._chunked, self._end, self._chunk_at = True, None, self._head_end
        elif lengths:
            if len(lengths) > 1 or not lengths[0].isdigit():
                return AMBIGUOUS
            if len(lengths[0]) > len(str(oversized.LARGEST)):
                return TOO_LARGE
            length = int(lengths[0])
            if length > MAX_BODY:
                # Whoever waits to be asked for the body has not begun to send it.
                return TOO_LARGE if waits or length > oversized.LARGEST else self._drop(length)
            self._end = self._head_end + length
        self.wants_continue = waits and not self.complete
        return None

    def _drop(self, left: int | None) -> Refusal | None:
        """Keep nothing more of the body, of which this is ``left`` (see ``Oversized``)."""
        self._oversized = Oversized(left)
        self._end = None
        came = self._buffer[self._head_end if left is not None else self._chunk_at :]
        self._buffer.clear()
        return TOO_LARGE if self._oversized.drop(came) else None

    def _find_last_chunk(self) -> Refusal | None:  # noqa: PLR0911 - a chunk has many ways to be bad
        buffer = self._buffer
        if len(buffer) - self._head_end > 2 * MAX_BODY:  # tiny chunks are mostly framing
            return TOO_LARGE
        while (line_end := buffer.find(b"\r\n", self._chunk_at)) >= 0:
            size = CHUNK_SIZE.fullmatch(buffer, self._chunk_at, line_end)
            if size is None:
                return BAD_CHUNKS
            length = int(size[1], 16)
            if length == 0:
                return self._find_trailers_end(line_end)
            if self._body_bytes + length > MAX_BODY:
                return self._drop(None)
            data_end = line_end + 2 + length
            if len(buffer) < data_end + 2:
                break  # come back to this chunk when all of it is here
            if buffer[data_end : data_end + 2] != b"\r\n":
                return BAD_CHUNKS
            self._body_bytes += length
            self._chunk_at = data_end + 2
        else:
            bare = buffer.find(b"\n", self._chunk_at) >= 0
            too_long = len(buffer) - self._chunk_at > LONGEST_CHUNK_LINE
            return BAD_CHUNKS if bare or too_long else None
        return None

    def _find_trailers_end(self, line_end: int) -> Refusal | None:
        end = self._buffer.find(b"\r\n\r\n", line_end)
        if end >= 0:
            self._end = end + 4
        elif len(self._buffer) - line_end > MAX_HEAD:
            return HEAD_TOO_LARGE
        return None
