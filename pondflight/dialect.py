"""What pondflight tells clients about its SQL: the official SqlInfo list.

The proxy answers from here without starting a worker, so nothing in this module imports
DuckDB. Which of the union's kinds each value has is part of the interface: JDBC casts bit masks
to int32, and limits and ordinals to int64.
"""

from __future__ import annotations

from importlib.metadata import version

from pondflight.flightsql.sqlinfo import Bitmask, SqlInfoValue

SQL_INFO: dict[int, SqlInfoValue] = {
    0: "pondflight",
    1: f"duckdb v{version('duckdb')}",
    2: version("pyarrow"),
    3: False,  # read only
    4: True,  # SQL
    5: False,  # Substrait
    8: Bitmask(1),  # transactions, no savepoints
    9: True,  # cancel
    10: True,  # bulk ingestion
    11: True,  # ingest inside a transaction
    100: Bitmask(0),
    101: Bitmask(0),
}
