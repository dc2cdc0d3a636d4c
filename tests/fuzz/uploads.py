"""Arrow IPC with changed bytes, sent through every door that takes Arrow, to a running pondflight.

It must refuse or take each, without an end, a canary of another user's that comes back, or growth.
Runs for longer than the test does::

    python -m tests.fuzz.uploads 10000 [SEED]
"""

from __future__ import annotations

import contextlib
import random
import secrets
import struct
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from google.protobuf import message
from pyarrow import flight

from pondflight.auth.tokens import Tokens
from pondflight.flightsql import wire
from tests.flight import Client
from tests.raw_put import (
    DO_PUT,
    Message,
    RawPut,
    Refused,
    flight_data,
    ingest_command,
    ipc_messages,
)
from tests.serve.test_serve import Served

HARDENED = {"MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.check=3"}
"""What glibc has freed it overwrites, and what is written beyond it notices."""

DO_EXCHANGE = DO_PUT.replace("DoPut", "DoExchange")
MOST_GROWTH = 96 << 20
_EXTREMES = (-(1 << 63), -(1 << 31), -4096, -8, -1, 0, 1, 7, 4096, 1 << 20, (1 << 31) - 1, 1 << 40)


def _columns() -> dict[str, pa.Array]:
    text = ["ab", None, "é", ""] * 4
    lists = [[1, 2], None, [], [3]] * 4
    return {
        "i": pa.array(range(16), pa.int32()),
        "b": pa.array([True, None] * 8),
        "s": pa.array(text),
        "ls": pa.array(text, pa.large_string()),
        "bin": pa.array([b"xyz", b""] * 8),
        "fsb": pa.array([b"abcd"] * 16, pa.binary(4)),
        "d": pa.array([Decimal("1.5")] * 16, pa.decimal128(9, 2)),
        "ts": pa.array([datetime(2026, 1, 1)] * 16),  # noqa: DTZ001
        "l": pa.array(lists, pa.list_(pa.int16())),
        "ll": pa.array([[text]] * 16, pa.large_list(pa.list_(pa.string()))),
        "fl": pa.array([[1, 2]] * 16, pa.list_(pa.int8(), 2)),
        "st": pa.array([{"x": 1, "y": "abc"}, None] * 8),
        "m": pa.array([[("k", 1)], None] * 8, pa.map_(pa.string(), pa.int64())),
        "dict": pa.array(text).dictionary_encode(),
        "sv": pa.array(["a text that is longer than twelve bytes", "b"] * 8, pa.string_view()),
        "lv": pa.array(lists, pa.list_view(pa.int16())),
        "u": pa.UnionArray.from_dense(
            pa.array([0, 1] * 8, pa.int8()),
            pa.array([i // 2 for i in range(16)], pa.int32()),
            [pa.array(range(8)), pa.array(["u"] * 8)],
        ),
        "ree": pa.RunEndEncodedArray.from_arrays(
            pa.array([9, 16], pa.int32()), pa.array(["a", "b"])
        ),
        "n": pa.nulls(16),
    }


def seeds() -> list[list[Message]]:
    """One stream for each type, all of them together, and some that are compressed."""
    columns = _columns()
    plain = [ipc_messages(pa.table({name: array})) for name, array in columns.items()]
    scannable = {name: array for name, array in columns.items() if name not in ("lv", "ree")}
    packed = [
        ipc_messages(pa.table({name: columns[name]}), compression=codec)
        for name in ("s", "ll", "i", "dict")
        for codec in ("zstd", "lz4")
    ]
    return [*plain, ipc_messages(pa.table(scannable)), *packed]


def mutated(messages: list[Message], chance: random.Random) -> list[Message]:
    """The stream with one to three changes, most of them in offsets, lengths and counts."""
    found = [list(message) for message in messages]
    for _ in range(chance.randint(1, 3)):
        message = chance.choice(found)
        part = chance.choice((0, 1, 1))
        data = bytearray(message[part])
        form = chance.choice("iiqb")
        size = struct.calcsize(form)
        if len(data) < size or chance.random() < 0.05:
            if chance.random() < 0.5:
                found.insert(chance.randrange(len(found) + 1), list(chance.choice(found)))
            else:
                message[part] = bytes(data[: chance.randrange(len(data) + 1)])
            continue
        value = chance.choice(_EXTREMES) if chance.random() < 0.7 else chance.getrandbits(64)
        position = chance.randrange((len(data) - size) // size + 1) * size
        data[position : position + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        message[part] = bytes(data)
    return [(header, body) for header, body in found]


class Target:
    """A pondflight with hardened memory, an attacker, and a user whose data must stay theirs."""

    def __init__(self, folder: Path) -> None:
        secret = secrets.token_urlsafe(32)
        config = folder / "config.yaml"
        config.write_text(_CONFIG)
        options = ("--no-caddy", "--config", str(config))
        self.served = Served(folder, *options, JWT_SECRET=secret, **HARDENED)
        self.tokens = Tokens(secret)
        self.canary = f"CANARY-{secrets.token_hex(8)}"
        self.outcomes: Counter[str] = Counter()
        self.served.wait_ready()
        self.address = f"127.0.0.1:{self.served.ports['GRPC_PORT']}"
        self._attacker = self.tokens.mint("mallory", timedelta(hours=9))
        self._client = Client(f"grpc://{self.address}", self._attacker)
        self._put = RawPut(self.address, self._attacker)
        self._over = threading.Event()
        self._victim = threading.Thread(target=self._show_canary, daemon=True)
        self._victim.start()

    def close(self) -> int:
        """The exit code of the proxy."""
        self._over.set()
        self._victim.join(30)
        self._client.close()
        return self.served.stop()

    def resident(self) -> int:
        """Bytes of the proxy."""
        status = Path(f"/proc/{self.served.process.pid}/status").read_text()
        return (
            int(dict(line.split(":", 1) for line in status.splitlines())["RssAnon"].split()[0])
            << 10
        )

    def attack(self, messages: list[Message], door: int) -> None:
        """Send it through one of the doors, and look at all that comes back."""
        try:
            got = (self._ingest, self._bind, self._exchange, self._handle)[door](messages)
        except (Refused, pa.ArrowException, flight.FlightError, OSError) as error:
            got = str(error).encode()
            self.outcomes[f"{type(error).__name__} {got[:30].decode('utf-8', 'replace')}"] += 1
        else:
            self.outcomes["taken"] += 1
        assert self.served.process.poll() is None, "the proxy has ended"
        assert self.canary.encode() not in got, "another user's data came back"
        assert self._signature.encode() not in got, "another user's token came back"

    def _ingest(self, messages: list[Message]) -> bytes:
        self._put.send(flight_data(ingest_command("t"), messages))
        return self._rows("FROM t")

    def _bind(self, messages: list[Message]) -> bytes:
        command = wire.pack(_prepared(_handle_of("SELECT ?::VARCHAR, 'bound'")))
        (answer, *_) = self._put.send(flight_data(command, messages))
        # A PutResult is one field of bytes, which hold the message with the new handle.
        inner = wire.message_class("Ticket").FromString(answer).ticket
        result = wire.message_class("DoPutPreparedStatementResult").FromString(inner)
        return self._rows(wire.pack(_prepared(result.prepared_statement_handle)))

    def _exchange(self, messages: list[Message]) -> bytes:
        return b"".join(self._put.send(flight_data(b"SELECT 1", messages), method=DO_EXCHANGE))

    def _handle(self, messages: list[Message]) -> bytes:
        stream = b"".join(
            struct.pack("<Ii", 0xFFFFFFFF, len(header)) + header + body for header, body in messages
        )
        return self._rows(wire.pack(_prepared(_handle_of("SELECT ?::VARCHAR") + stream)))

    def _rows(self, command: bytes | str) -> bytes:
        sink = pa.BufferOutputStream()
        table = self._client.table(command)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def _show_canary(self) -> None:
        token = self.tokens.mint("victim", timedelta(hours=9))
        self._signature = token.rpartition(".")[2]
        client = Client(f"grpc://{self.address}", token)
        sql = f"SELECT '{self.canary}' || repeat('x', 2000) FROM range(200)"
        while not self._over.is_set():
            with contextlib.suppress(flight.FlightError):
                client.rows(sql)
        client.close()

    _signature = "not yet"


_CONFIG = "security: {rate_limit: {requests_per_minute: 1000000, burst_size: 1000000}}"


def _prepared(handle: bytes) -> message.Message:
    query: message.Message = wire.new(
        "CommandPreparedStatementQuery", prepared_statement_handle=handle
    )
    return query


def _handle_of(sql: str) -> bytes:
    return f'{{"i":"","q":"{sql}","s":""}}\n'.encode()


def attacks(number: int, seed: int) -> Iterator[tuple[list[Message], int]]:
    """So many streams, each with the door that it goes through; the same for the same seed."""
    chance = random.Random(seed)
    originals = seeds()
    for _ in range(number):
        yield mutated(chance.choice(originals), chance), chance.choice((0, 0, 1, 1, 2, 3))


def run(folder: Path, number: int, seed: int) -> Counter[str]:
    """Send them; what became of them. Raises ``AssertionError`` where a promise is broken."""
    target = Target(folder)
    try:
        for messages, door in attacks(number // 5 + 50, seed + 1):
            target.attack(messages, door)
        before = target.resident()
        for messages, door in attacks(number, seed):
            target.attack(messages, door)
        grown = target.resident() - before
        assert grown < MOST_GROWTH, f"the proxy has grown by {grown >> 20} MiB"
    finally:
        code = target.close()
    assert code == 0
    return target.outcomes


if __name__ == "__main__":
    _seed = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbits(32)
    sys.stderr.write(f"seed {_seed}\n")
    with tempfile.TemporaryDirectory() as _folder:
        for _outcome, _number in run(Path(_folder), int(sys.argv[1]), _seed).most_common():
            sys.stdout.write(f"{_number:7} {_outcome}\n")
