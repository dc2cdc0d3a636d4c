"""The kinds of table there are: the names that JDBC tools look for."""

from __future__ import annotations

import pyarrow as pa

from pondflight.flightsql.schemas import TABLE_TYPES as SCHEMA

TABLE_TYPES = ("TABLE", "VIEW")


def table_types() -> pa.Table:
    """Return the table types as a table with the schema ``schemas.TABLE_TYPES``."""
    return pa.table([pa.array(TABLE_TYPES)], schema=SCHEMA)
