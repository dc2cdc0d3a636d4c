"""What tools written in Python make of pondflight, in an environment of their own.

Arguments: port, token.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import dlt
import ibis
from adbc_driver_flightsql import DatabaseOptions
from harlequin_adbc import HarlequinAdbcAdapter
from outcomes import report
from sqlalchemy.dialects import registry

PORT, TOKEN = sys.argv[1:3]


def ibis_reads_and_writes() -> None:
    backend = ibis.gizmosql.connect(
        host="127.0.0.1", port=int(PORT), user="token", password=TOKEN, use_encryption=False
    )
    rows = ibis.memtable({"i": [1, 2, 3], "s": ["a", "b", "b"]})
    backend.create_table("of_ibis", rows)
    assert "of_ibis" in backend.list_tables()
    table = backend.table("of_ibis")
    found = table.group_by("s").agg(n=table.i.sum()).order_by("s").to_pyarrow()
    assert found.to_pylist() == [{"s": "a", "n": 1}, {"s": "b", "n": 5}], found


def harlequin_runs_statements() -> None:
    adapter = HarlequinAdbcAdapter(
        conn_str=(f"grpc://127.0.0.1:{PORT}",),
        driver_type="flightsql",
        db_kwargs_str=f"{DatabaseOptions.AUTHORIZATION_HEADER.value}=Bearer {TOKEN}",
    )
    connection = adapter.connect()
    connection.execute("CREATE OR REPLACE TABLE of_harlequin (i INTEGER)")
    cursor = connection.execute("SELECT 42 AS n FROM (SELECT count(*) FROM of_harlequin)")
    assert [name for name, _ in cursor.columns()] == ["n"]
    assert cursor.fetchall().to_pylist() == [{"n": 42}]


def dlt_merges_and_adds_columns() -> None:
    sys.path.append(str(Path(__file__).parents[2]))  # the dialect, which is not installed here
    registry.register("pondflight.flightsql", "pondflight.sqlalchemy.dialect", "PondflightDialect")
    url = f"pondflight+flightsql://token:{TOKEN}@127.0.0.1:{PORT}/memory?tls=false"
    first = [{"id": 1, "name": "ada"}, {"id": 2, "name": "eve"}]
    second = [{"id": 2, "name": "eva", "age": 40, "tags": ["a", "b"]}]
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "shop", pipelines_dir=folder, destination=dlt.destinations.sqlalchemy(credentials=url)
        )
        for rows in (first, second):
            options = {"primary_key": "id", "write_disposition": "merge"}
            pipeline.run(rows, table_name="person", **options)
        with pipeline.sql_client() as client:
            people = client.execute_sql("SELECT id, name, age FROM shop_dataset.person ORDER BY id")
            tags = client.execute_sql("SELECT value FROM shop_dataset.person__tags ORDER BY value")
    assert people == [(1, "ada", None), (2, "eva", 40)], people
    assert tags == [("a",), ("b",)], tags


if __name__ == "__main__":
    report(ibis_reads_and_writes, harlequin_runs_statements, dlt_merges_and_adds_columns)
