"""Bulk loads that fail while their rows are still on the way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import adbc_driver_manager
import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi

TABLE = "CREATE TABLE IF NOT EXISTS loaded (i INTEGER PRIMARY KEY, s VARCHAR NOT NULL)"
_BATCHES = 20
_ERRORS = {
    "duplicate key": "[Dd]uplicate key",
    "NULL": "NOT NULL constraint",
    "wrong type": "'hello'",
    "timeout": "longer than its limit",
}


def fail(connection: dbapi.Connection, hurried: dbapi.Connection, times: int) -> None:
    """Let ``times`` loads fail, of each kind in turn.

    ``hurried`` is another connection, which gets a statement timeout.
    """
    with connection.cursor() as cursor, hurried.cursor() as other:
        cursor.execute(TABLE)
        other.execute("SET statement_timeout = '100ms'")
    for kind in itertools.islice(itertools.cycle(_ERRORS), times):
        with (hurried if kind == "timeout" else connection).cursor() as cursor:
            with pytest.raises(adbc_driver_manager.Error, match=_ERRORS[kind]):
                cursor.adbc_ingest("loaded", _rows(kind), mode="append")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM loaded")
        assert cursor.fetchone() == (0,)


def _rows(kind: str) -> pa.RecordBatchReader:
    number = pa.string() if kind == "wrong type" else pa.int32()
    schema = pa.schema([pa.field("i", number), pa.field("s", pa.string())])
    return pa.RecordBatchReader.from_batches(schema, _batches(kind, schema))


def _batches(kind: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for n in range(_BATCHES):
        if kind == "timeout":
            time.sleep(0.02)
        row = {
            "i": "hello" if kind == "wrong type" else 0 if kind == "duplicate key" else n,
            "s": None if kind == "NULL" else "x",
        }
        yield pa.RecordBatch.from_pylist([row], schema)
