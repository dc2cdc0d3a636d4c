"""A client with only grpcio and protobuf: its own messages, and gRPC's default limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

from integration.deployment import Deployment

FLIGHT = "arrow.flight.protocol"
SERVICE = f"/{FLIGHT}.FlightService"
SECONDS = 60
FIELD = descriptor_pb2.FieldDescriptorProto

# Message: field, number, type ("*" before it: repeated); another message by its name.
MESSAGES = {
    f"{FLIGHT}.FlightDescriptor": {"type": (1, "int32"), "cmd": (2, "bytes")},
    f"{FLIGHT}.Ticket": {"ticket": (1, "bytes")},
    f"{FLIGHT}.FlightEndpoint": {"ticket": (1, f"{FLIGHT}.Ticket")},
    f"{FLIGHT}.FlightInfo": {
        "schema": (1, "bytes"),
        "endpoint": (3, f"*{FLIGHT}.FlightEndpoint"),
        "total_records": (4, "int64"),
    },
    f"{FLIGHT}.FlightData": {"data_header": (2, "bytes"), "data_body": (1000, "bytes")},
    f"{FLIGHT}.sql.CommandStatementQuery": {"query": (1, "string")},
}


def classes() -> dict[str, Any]:
    """Return the class of each message, by the last part of its name."""
    pool = descriptor_pool.DescriptorPool()
    for package in (FLIGHT, f"{FLIGHT}.sql"):
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto", package=package, syntax="proto3"
        )
        for name, fields in MESSAGES.items():
            if name.rpartition(".")[0] == package:
                message = file.message_type.add(name=name.rpartition(".")[2])
                for field, (number, kind) in fields.items():
                    add(message, field, number, kind)
        pool.Add(file)
    found = (pool.FindMessageTypeByName(name) for name in MESSAGES)
    return {one.name: message_factory.GetMessageClass(one) for one in found}


def add(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    label = FIELD.LABEL_REPEATED if kind.startswith("*") else FIELD.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    kind = kind.removeprefix("*")
    if "." in kind:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".{kind}"
    else:
        field.type = FIELD.Type.Value(f"TYPE_{kind.upper()}")


CLASSES = classes()


class Client:
    """A Flight SQL client with the defaults of gRPC for Python."""

    def __init__(self, deployment: Deployment) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{deployment.flight_port}")
        token = deployment.token("ada")
        self._call: dict[str, Any] = {
            "metadata": [("authorization", f"Bearer {token}")],
            "timeout": SECONDS,
        }

    def query(self, sql: str) -> pa.Table:
        command = packed("CommandStatementQuery", query=sql)
        descriptor = CLASSES["FlightDescriptor"](type=2, cmd=command)
        method = self._channel.unary_unary(f"{SERVICE}/GetFlightInfo", **coded("FlightInfo"))
        info = method(descriptor, **self._call)
        tables = [pa.Table.from_batches(*self._read(one.ticket)) for one in info.endpoint]
        return pa.concat_tables(tables)

    def _read(self, ticket: Any) -> tuple[list[pa.RecordBatch], pa.Schema]:
        method = self._channel.unary_stream(f"{SERVICE}/DoGet", **coded("FlightData"))
        stream = b"".join(
            encapsulated(one.data_header, one.data_body) for one in method(ticket, **self._call)
        )
        reader = pa.ipc.open_stream(stream)
        return list(reader), reader.schema

    def close(self) -> None:
        self._channel.close()


def coded(answer: str) -> dict[str, Any]:
    return {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": CLASSES[answer].FromString,
    }


def packed(name: str, **fields: Any) -> bytes:
    wrapped = any_pb2.Any(
        type_url=f"type.googleapis.com/{FLIGHT}.sql.{name}",
        value=CLASSES[name](**fields).SerializeToString(),
    )
    return wrapped.SerializeToString()


def encapsulated(header: bytes, body: bytes) -> bytes:
    """Return a message of Arrow's stream format, from the two parts that Flight sends."""
    padded = header + bytes(-len(header) % 8)
    return b"\xff\xff\xff\xff" + len(padded).to_bytes(4, "little") + padded + body


@pytest.fixture(name="client", scope="module")
def fixture_client(deployment: Deployment) -> Iterator[Client]:
    with closing(Client(deployment)) as client:
        yield client


def test_statements_and_queries(client: Client) -> None:
    client.query("CREATE OR REPLACE TABLE t AS SELECT i, 'n' || i AS s FROM range(3) AS r (i)")
    assert client.query("INSERT INTO t VALUES (3, NULL)").num_rows == 0
    assert client.query("FROM t ORDER BY i").to_pydict() == {
        "i": [0, 1, 2, 3],
        "s": ["n0", "n1", "n2", None],
    }
    with pytest.raises(grpc.RpcError, match="nowhere"):
        client.query("FROM nowhere")


def test_wide_rows_stay_below_the_default_limit(client: Client) -> None:
    found = client.query("SELECT i, repeat('x', 10000) AS s FROM range(3000) AS r (i)")
    assert (found.num_rows, found.nbytes > 30_000_000) == (3000, True)
