"""FlightInfos: what a client learns of a result before it fetches it."""

from __future__ import annotations

from pyarrow import flight

from pondflight import control
from pondflight.engine.execution.plans import Plan
from pondflight.flightsql import PreparedStatement, wire


def flight_info(plan: Plan, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
    """Return the FlightInfo of ``plan``. It always has an endpoint.

    Some clients fail without one, even after an INSERT has run: whoever tries again then has the
    rows twice.
    """
    handle = control.HAS_RUN if plan.ticket is None else plan.ticket.encode()
    ticket = wire.pack(wire.new("TicketStatementQuery", statement_handle=handle))
    endpoints = [flight.FlightEndpoint(ticket, [])]
    return flight.FlightInfo(
        plan.schema, descriptor, endpoints, plan.total_records, -1, app_metadata=plan.rows
    )


def promise(statement: PreparedStatement, plan: Plan) -> bytes:
    """Return the FlightInfo of a prepared statement, serialized (``control.PROMISE_HEADER``)."""
    command = wire.new("CommandPreparedStatementQuery", prepared_statement_handle=statement.handle)
    descriptor = flight.FlightDescriptor.for_command(wire.pack(command))
    serialized: bytes = flight_info(plan, descriptor).serialize()
    return serialized
