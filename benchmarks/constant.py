"""The minimum cost of a Flight SQL server on pyarrow: it answers constants, whatever is asked.

It runs in a process of its own, prints its port, and ends with its standard input.
"""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
from pyarrow import flight

from pondflight import dialect
from pondflight.flightsql import answers, wire
from pondflight.flightsql.sqlinfo import sql_info_table

_SQL_INFO = wire.pack(wire.new("CommandGetSqlInfo"))
"""What a command for SqlInfo begins with: ADBC asks for it when it connects."""
_ROWS = pa.table({"42": pa.array([42], pa.int32())})
_TICKET = wire.pack(wire.new("TicketStatementQuery", statement_handle=b"42"))
_PREPARED = answers.prepared(
    answers.PreparedStatement(b"42", _ROWS.schema, pa.schema([]), is_update=False)
)


class _Constant(flight.FlightServerBase):
    def do_action(self, context: Any, action: flight.Action) -> list[bytes]:
        return [_PREPARED] if action.type == "CreatePreparedStatement" else []

    def get_flight_info(
        self, context: Any, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        info = descriptor.command.startswith(_SQL_INFO)
        endpoint = flight.FlightEndpoint(descriptor.command if info else _TICKET, [])
        return flight.FlightInfo(_ROWS.schema, descriptor, [endpoint], -1, -1)

    def do_get(self, context: Any, ticket: flight.Ticket) -> flight.RecordBatchStream:
        if ticket.ticket != _TICKET:
            return flight.RecordBatchStream(sql_info_table(dialect.SQL_INFO, ()))
        return flight.RecordBatchStream(_ROWS)


def main() -> None:
    """Serve until standard input ends."""
    server = _Constant("grpc://127.0.0.1:0")
    print(server.port, flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
