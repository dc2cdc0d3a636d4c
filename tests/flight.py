"""A Flight client for tests: plain SQL text, actions, and headers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import flight


class Client:
    """Speaks to one server with one token."""

    def __init__(self, uri: str, token: str, **headers: str) -> None:
        self.flight = flight.FlightClient(uri)
        named = {"authorization": f"Bearer {token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        self.headers = [(name.encode(), value.encode()) for name, value in named.items()]

    def options(self, timeout: float | None = None) -> flight.FlightCallOptions:
        return flight.FlightCallOptions(timeout=timeout, headers=self.headers)

    def info(self, command: bytes | str, timeout: float | None = None) -> flight.FlightInfo:
        data = command.encode() if isinstance(command, str) else command
        return self.flight.get_flight_info(
            flight.FlightDescriptor.for_command(data), self.options(timeout)
        )

    def schema(self, command: bytes | str) -> pa.Schema:
        data = command.encode() if isinstance(command, str) else command
        descriptor = flight.FlightDescriptor.for_command(data)
        return self.flight.get_schema(descriptor, self.options()).schema

    def reader(self, command: bytes | str, timeout: float | None = None) -> Any:
        ticket = self.info(command).endpoints[0].ticket
        return self.flight.do_get(ticket, self.options(timeout))

    def table(self, command: bytes | str) -> pa.Table:
        return self.reader(command).read_all()

    def rows(self, command: bytes | str) -> list[tuple[Any, ...]]:
        table = self.table(command)
        columns = [column.to_pylist() for column in table.columns]
        return list(zip(*columns, strict=True))

    def act(self, kind: str, body: bytes = b"") -> list[bytes]:
        results = self.flight.do_action(flight.Action(kind, body), self.options())
        return [result.body.to_pybytes() for result in results]

    def put(self, command: bytes, table: pa.Table) -> bytes | None:
        descriptor = flight.FlightDescriptor.for_command(command)
        writer, answers = self.flight.do_put(descriptor, table.schema, self.options())
        with writer:
            writer.write_table(table)
            writer.done_writing()
            answer = answers.read()
        return None if answer is None else answer.to_pybytes()

    def close(self) -> None:
        self.flight.close()
