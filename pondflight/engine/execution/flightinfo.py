"""FlightInfos: what a client is told of a result before it fetches it."""

from __future__ import annotations

from pyarrow import flight

from pondflight.engine.execution.statements import Plan
from pondflight.flightsql import PreparedStatement, wire


def flight_info(plan: Plan, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
    """The FlightInfo of ``plan``; without an endpoint where there is nothing to fetch."""
    endpoints = []
    if plan.ticket is not None:
        ticket = wire.new("TicketStatementQuery", statement_handle=plan.ticket.encode())
        endpoints.append(flight.FlightEndpoint(wire.pack(ticket), []))
    return flight.FlightInfo(plan.schema, descriptor, endpoints, plan.total_records, -1)


def promise(statement: PreparedStatement, plan: Plan) -> bytes:
    """The FlightInfo of a prepared statement, serialized (``control.PROMISE_HEADER``)."""
    command = wire.new("CommandPreparedStatementQuery", prepared_statement_handle=statement.handle)
    descriptor = flight.FlightDescriptor.for_command(wire.pack(command))
    serialized: bytes = flight_info(plan, descriptor).serialize()
    return serialized
