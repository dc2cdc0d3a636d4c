"""What a client learns of a statement before it fetches rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from pondflight.engine.execution.handles import Handle
from pondflight.flightsql import PreparedStatement

COUNT_SCHEMA = pa.schema([pa.field("Count", pa.int64())])
EMPTY_SCHEMA = pa.schema([])
NOT_KNOWN_YET = pa.schema([pa.field("result", pa.string())])
"""Stands for the schema of rows that only a run can tell.

It must not be empty: to JDBC, a statement with an empty schema is an update.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """The content of a FlightInfo; ``ticket`` is None if there are no rows.

    ``rows`` are the rows themselves, if it was run early (``control.PROMISE_HEADER``).
    """

    schema: pa.Schema
    ticket: Handle | None
    total_records: int = -1
    rows: bytes = b""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared statement.

    ``plan`` is what a FlightInfo of it would say; ``None`` if parameters are missing, or if asking
    for the FlightInfo has an effect.
    """

    statement: PreparedStatement
    plan: Callable[[], Plan] | None = None
