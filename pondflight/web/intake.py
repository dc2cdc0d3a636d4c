"""A request on its way in: enough of HTTP/1.1's framing to know when all of it has come.

The loop reads requests and hands over whole ones only, so that a client which sends slowly costs
a buffer and not a thread. What a request means is not decided here: gunicorn's parser reads the
same bytes again. Where the framing is ambiguous the request counts as complete at its head, and
that parser refuses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

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

_MAX_CHUNK_LINE: Final = 256
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\n]{0,200})?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not read any further: a problem document."""

    document: dict[str, object]

    @classmethod
    def of(cls, status: int, detail: str) -> Refusal:
        """A refusal with this status."""
        return cls(problem(status, detail))


TOO_LARGE: Final = Refusal.of(413, f"the body is over the limit of {MAX_BODY >> 20} MiB")
HEAD_TOO_LARGE: Final = Refusal.of(
    431, f"request line and headers are over the limit of {MAX_HEAD >> 10} KiB"
)
BAD_CHUNKS: Final = Refusal.of(400, "the chunked body is malformed")
TOO_SLOW: Final = Refusal.of(408, "the request did not arrive in time")
NO_ROOM: Final = Refusal.of(503, "too many large requests at once: try again in a moment")


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
        self.wants_continue = False
        """The client waits for "100 Continue" before it sends the body. Reset by the reader."""

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def deadline(self) -> float:
        """When the request must be complete, as far as is known now."""
        if not self._head_end:
            return self._started + HEAD_SECONDS
        body = len(self._buffer) - self._head_end
        return self._started + HEAD_SECONDS + BODY_SECONDS + body / BODY_BYTES_PER_SECOND

    def feed(self, data: bytes) -> Refusal | None:
        """Take in what was received; a refusal if the request must not go on."""
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
        self._end = self._head_end
        if codings:
            if not lengths and [coding.lower() for coding in codings] == [b"chunked"]:
                self._chunked, self._end, self._chunk_at = True, None, self._head_end
        elif len(lengths) == 1 and lengths[0].isdigit():
            if len(lengths[0]) > len(str(MAX_BODY)) or int(lengths[0]) > MAX_BODY:
                return TOO_LARGE
            self._end = self._head_end + int(lengths[0])
        expect = [value.lower() for value in fields.get(b"expect", [])]
        self.wants_continue = (
            expect == [b"100-continue"] and request_line.endswith(b"HTTP/1.1") and not self.complete
        )
        return None

    def _find_last_chunk(self) -> Refusal | None:  # noqa: PLR0911 - a chunk has many ways to be bad
        buffer = self._buffer
        if len(buffer) - self._head_end > 2 * MAX_BODY:  # tiny chunks are mostly framing
            return TOO_LARGE
        while (line_end := buffer.find(b"\r\n", self._chunk_at)) >= 0:
            size = _CHUNK_SIZE.fullmatch(buffer, self._chunk_at, line_end)
            if size is None:
                return BAD_CHUNKS
            length = int(size[1], 16)
            if length == 0:
                return self._find_trailers_end(line_end)
            if self._body_bytes + length > MAX_BODY:
                return TOO_LARGE
            data_end = line_end + 2 + length
            if len(buffer) < data_end + 2:
                break  # come back to this chunk when all of it is here
            if buffer[data_end : data_end + 2] != b"\r\n":
                return BAD_CHUNKS
            self._body_bytes += length
            self._chunk_at = data_end + 2
        else:
            return BAD_CHUNKS if len(buffer) - self._chunk_at > _MAX_CHUNK_LINE else None
        return None

    def _find_trailers_end(self, line_end: int) -> Refusal | None:
        end = self._buffer.find(b"\r\n\r\n", line_end)
        if end >= 0:
            self._end = end + 4
        elif len(self._buffer) - line_end > MAX_HEAD:
            return HEAD_TOO_LARGE
        return None
