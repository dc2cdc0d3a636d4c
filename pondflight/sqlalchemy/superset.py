"""The engine spec for Apache Superset: dialect, literals, time grains, errors.

Superset finds the class by the entry point ``superset.db_engine_specs``.
"""

from __future__ import annotations

import re
from datetime import datetime, time

from sqlalchemy import types
from sqlalchemy.engine import URL
from superset.constants import TimeGrain
from superset.db_engine_specs.base import BaseEngineSpec
from superset.db_engine_specs.duckdb import DuckDBEngineSpec
from superset.errors import SupersetErrorType
from superset.sql import parse

# Without a dialect, Superset reports DuckDB's own syntax as an error.
parse.SQLGLOT_DIALECTS.setdefault("pondflight", parse.SQLGLOT_DIALECTS["duckdb"])


class PondflightEngineSpec(BaseEngineSpec):
    """pondflight: DuckDB's SQL, over Flight SQL."""

    engine = "pondflight"
    engine_name = "pondflight"
    default_driver = "flightsql"
    sqlalchemy_uri_placeholder = "pondflight+flightsql://token:TOKEN@host:8081/"
    supports_multivalues_insert = True
    supports_dynamic_schema = True

    column_type_mappings = DuckDBEngineSpec.column_type_mappings
    _time_grain_expressions = DuckDBEngineSpec._time_grain_expressions | {  # noqa: SLF001
        TimeGrain.FIVE_SECONDS: "time_bucket(INTERVAL 5 SECOND, {col})",
        TimeGrain.THIRTY_SECONDS: "time_bucket(INTERVAL 30 SECOND, {col})",
        TimeGrain.FIVE_MINUTES: "time_bucket(INTERVAL 5 MINUTE, {col})",
        TimeGrain.TEN_MINUTES: "time_bucket(INTERVAL 10 MINUTE, {col})",
        TimeGrain.FIFTEEN_MINUTES: "time_bucket(INTERVAL 15 MINUTE, {col})",
        TimeGrain.THIRTY_MINUTES: "time_bucket(INTERVAL 30 MINUTE, {col})",
        TimeGrain.SIX_HOURS: "time_bucket(INTERVAL 6 HOUR, {col})",
        TimeGrain.WEEK_STARTING_SUNDAY: (
            "date_trunc('week', {col} + INTERVAL 1 DAY) - INTERVAL 1 DAY"
        ),
        TimeGrain.WEEK_STARTING_MONDAY: "date_trunc('week', {col})",
    }
    custom_errors = {  # noqa: RUF012
        re.compile(r"UNAUTHENTICATED: \[FlightSQL\] (?P<reason>.*?)\. Detail:"): (
            "The token in the URL is not accepted: %(reason)s",
            SupersetErrorType.CONNECTION_ACCESS_DENIED_ERROR,
            {"invalid": ["password"]},
        ),
    }

    @classmethod
    def epoch_to_dttm(cls) -> str:
        """Return SQL for a TIMESTAMP from seconds since 1970. The column may be an INTEGER."""
        return "make_timestamp(CAST({col} * 1e6 AS BIGINT))"

    @classmethod
    def convert_dttm(cls, target_type: str, dttm: datetime, db_extra: object = None) -> str | None:
        """Return a point in time as a literal.

        Compared with a DATE, text would lose its time of day; a DATE that stands for midnight lets
        DuckDB skip row groups.
        """
        if isinstance(cls.get_sqla_column_type(target_type), types.Date):
            exact = dttm.time() == time.min
            return f"DATE '{dttm.date()}'" if exact else f"TIMESTAMP '{dttm:%Y-%m-%d %H:%M:%S.%f}'"
        text: str | None = DuckDBEngineSpec.convert_dttm(target_type, dttm, db_extra)
        return text

    @classmethod
    def adjust_engine_params(
        cls,
        uri: URL,
        connect_args: dict[str, object],
        catalog: str | None = None,  # noqa: ARG003
        schema: str | None = None,
    ) -> tuple[URL, dict[str, object]]:
        """Return the URL with the schema that is selected in SQL Lab."""
        return (uri.update_query_dict({"schema": schema}) if schema else uri), connect_args
