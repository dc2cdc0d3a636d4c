"""What Apache Superset wants to know of a database: time grains, literals, its SQL's dialect.

Superset finds the class by the entry point ``superset.db_engine_specs``.
"""

from __future__ import annotations

from typing import Any

from superset.db_engine_specs.base import BaseEngineSpec
from superset.db_engine_specs.duckdb import DuckDBEngineSpec
from superset.sql import parse

# Without a dialect, Superset takes DuckDB's own syntax for an error.
parse.SQLGLOT_DIALECTS.setdefault("pondflight", parse.SQLGLOT_DIALECTS["duckdb"])


class PondflightEngineSpec(BaseEngineSpec):
    """pondflight: DuckDB's SQL, over Flight SQL."""

    engine = "pondflight"
    engine_name = "pondflight"
    default_driver = "flightsql"
    sqlalchemy_uri_placeholder = "pondflight+flightsql://token:TOKEN@host:8081/?tls=false"
    supports_multivalues_insert = True

    column_type_mappings = DuckDBEngineSpec.column_type_mappings
    _time_grain_expressions = DuckDBEngineSpec._time_grain_expressions  # noqa: SLF001

    @classmethod
    def epoch_to_dttm(cls) -> str:
        """A TIMESTAMP from seconds since 1970."""
        return "make_timestamp(CAST({col} * 1000000 AS BIGINT))"

    @classmethod
    def convert_dttm(cls, target_type: str, dttm: Any, db_extra: Any = None) -> str | None:
        """A date as a literal."""
        text: str | None = DuckDBEngineSpec.convert_dttm(target_type, dttm, db_extra)
        return text
