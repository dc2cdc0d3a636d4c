"""Flight over grpcio alone, for what pyarrow's client never sends, and for sizes of messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from pondflight.flightsql import wire

_SERVICE = "/arrow.flight.protocol.FlightService"
_RAW: dict[str, Any] = {"request_serializer": bytes, "response_deserializer": bytes}
_SECONDS = 60


class BareClient:
    """Speaks to one server with one token; takes messages of 4 MiB, gRPC's default."""

    def __init__(
        self, address: str, token: str, *, max_message: int = 4 << 20, **headers: str
    ) -> None:
        limit = [("grpc.max_receive_message_length", max_message)]
        self._channel = grpc.insecure_channel(address.removeprefix("grpc://"), options=limit)
        named = {"authorization": f"Bearer {token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        self._call: dict[str, Any] = {"metadata": list(named.items()), "timeout": _SECONDS}

    def put(self, command: Any, *messages: bytes) -> list[Any]:
        """DoPut with a descriptor and nothing else, unless there are more ``messages``.

        The results' metadata.
        """
        descriptor = b"\x08\x02" + _field(2, wire.pack(command))
        method = self._channel.stream_stream(f"{_SERVICE}/DoPut", **_RAW)
        answers = method(iter([_field(1, descriptor), *messages]), **self._call)
        return [_bytes_in(answer, 1) for answer in answers]

    def act(self, kind: str, request: Any) -> list[bytes]:
        """DoAction; the bodies of the results."""
        method = self._channel.unary_stream(f"{_SERVICE}/DoAction", **_RAW)
        body = _field(1, kind.encode()) + _field(2, wire.pack(request))
        return [_bytes_in(result, 1) for result in method(body, **self._call)]

    def sizes(self, ticket: bytes) -> Iterator[int]:
        """DoGet; the size of each message as gRPC counts it."""
        method = self._channel.unary_stream(f"{_SERVICE}/DoGet", **_RAW)
        for message in method(_field(1, ticket), **self._call):
            yield len(message)

    def close(self) -> None:
        self._channel.close()


def _field(number: int, data: bytes) -> bytes:
    """A field of protobuf's wire format, length-delimited."""
    size, prefix = len(data), bytearray([number << 3 | 2])
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*prefix, size]) + data


def _bytes_in(message: bytes, number: int) -> bytes:
    """The bytes of the message's first field, which is length-delimited."""
    if not message:
        return b""
    assert message[0] == number << 3 | 2
    at, size, shift = 1, 0, 0
    while True:
        byte, at = message[at], at + 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return message[at : at + size]
