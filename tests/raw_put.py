"""DoPut as its bytes: what no Arrow library would send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import grpc
import pyarrow as pa

from pondflight.flightsql import wire

Message = tuple[bytes, bytes]
"""Header and body of an IPC message."""

DO_PUT = "/arrow.flight.protocol.FlightService/DoPut"


def ipc_messages(table: pa.Table, **options: Any) -> list[Message]:
    """The messages of ``table``, the schema first; ``options`` are of ``IpcWriteOptions``."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table)
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(sink.getvalue()))
    found: list[Message] = []
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return found
        body = message.body.to_pybytes() if message.body else b""
        found.append((message.metadata.to_pybytes(), body))


def flight_data(command: bytes, messages: Sequence[Message]) -> list[bytes]:
    """The FlightData of each message; the first one has the descriptor."""
    first = _field(1, b"\x08\x02" + _field(2, command))
    return [
        (b"" if number else first) + _field(2, header) + _field(1000, body)
        for number, (header, body) in enumerate(messages)
    ]


def ingest_command(table: str) -> bytes:
    """An ingest into a new table, or one that is replaced."""
    message = wire.new("CommandStatementIngest", table=table)
    message.table_definition_options.if_not_exist = 1
    message.table_definition_options.if_exists = 2
    return wire.pack(message)


class Refused(Exception):
    """A status of gRPC."""

    def __init__(self, status: str, details: str) -> None:
        super().__init__(f"{status}: {details}")
        self.status = status


class RawPut:
    """Sends FlightData to one server with one token."""

    def __init__(self, address: str, token: str, *headers: tuple[str, str]) -> None:
        options = [("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._headers = (("authorization", f"Bearer {token}"), *headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def send(self, data: Iterable[bytes], seconds: float = 30, method: str = DO_PUT) -> list[bytes]:
        """The answers, as PutResult in bytes; raises ``Refused``."""
        call = self._channel.stream_stream(method, _same, _same)
        answers = call(iter(data), metadata=self._headers, timeout=seconds)
        try:
            return list(answers)
        except grpc.RpcError:
            raise Refused(answers.code().name, answers.details() or "") from None


def _same(data: bytes) -> bytes:
    return data


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
