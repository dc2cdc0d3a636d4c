"""What Apache Superset makes of pondflight: its own HTTP API, in an environment of its own.

Arguments: port, token, a folder for Superset's metadata. The checks depend on each other, in order.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from outcomes import report

PORT, TOKEN, FOLDER = sys.argv[1:4]
URL = f"pondflight+flightsql://token:{TOKEN}@127.0.0.1:{PORT}/?tls=false"
PASSWORD = secrets.token_urlsafe()
CONFIG = f"""
SECRET_KEY = {secrets.token_urlsafe(42)!r}
SQLALCHEMY_DATABASE_URI = "sqlite:///{FOLDER}/superset.db"
LOG_LEVEL = "ERROR"
RATELIMIT_ENABLED = TALISMAN_ENABLED = WTF_CSRF_ENABLED = False
"""

SALES = """
ATTACH ':memory:' AS far;
CREATE SCHEMA far.away;
CREATE TABLE far.away.visit AS SELECT 7 AS n;
CREATE SCHEMA shop;
CREATE TABLE shop.item AS SELECT 'x' AS "select", 3 AS n;
CREATE TABLE sale AS
    SELECT i AS id, 'shop ' || i % 3 AS shop, CAST(i * 1.5 AS DECIMAL(10, 2)) AS price,
           CAST(sold AS DATE) AS day, sold, timezone('UTC', sold) AS zoned,
           CAST(epoch(sold) AS INTEGER) AS seconds
    FROM (SELECT i, TIMESTAMP '2025-01-01' + to_days(CAST(i AS INTEGER)) AS sold
          FROM range(90) t(i));
CREATE VIEW dear AS FROM sale WHERE price > 100;
"""
COLUMNS = {
    "id": "BIGINT",
    "shop": "VARCHAR",
    "price": "DECIMAL(10, 2)",
    "day": "DATE",
    "sold": "TIMESTAMP WITHOUT TIME ZONE",
    "zoned": "TIMESTAMP WITH TIME ZONE",
    "seconds": "INTEGER",
}
DAY = 86_400_000
NEW_YEAR = 1_735_689_600_000  # of 2025, a Wednesday
WEEKS = 13


class Superset:
    """Superset, with an administrator who is logged in."""

    def __init__(self) -> None:
        config = Path(FOLDER) / "superset_config.py"
        config.write_text(CONFIG, "utf-8")
        os.environ |= {"SUPERSET_CONFIG_PATH": str(config), "SUPERSET_HOME": FOLDER}
        from superset.app import create_app  # noqa: PLC0415 - reads the environment
        from superset.cli.main import superset  # noqa: PLC0415

        app = create_app()
        runner = app.test_cli_runner()
        person = ("--username", "admin", "--password", PASSWORD, "--email", "admin@example.org")
        names = ("--firstname", "ada", "--lastname", "lovelace")
        for command in (("db", "upgrade"), ("fab", "create-admin", *person, *names), ("init",)):
            result = runner.invoke(superset, command)
            assert result.exit_code == 0, (command, result.output, result.exception)
        self._app, self._client = app, app.test_client()
        self._headers = {}
        login = {"username": "admin", "password": PASSWORD, "provider": "db"}
        token = self("POST", "security/login", login)["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self.database = self.sale = 0

    def __call__(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        """One call of the API; its JSON. Without a status, any below 300 will do."""
        response = self._client.open(
            f"/api/v1/{path}", method=method, json=body, headers=self._headers
        )
        good = response.status_code == status if status else response.status_code < 300
        assert good, f"{response.status_code} {response.text}"
        return response.get_json()

    def ask(self, sql: str, schema: str = "main", limit: int = 100) -> list[tuple[Any, ...]]:
        """Rows of SQL Lab, in the order of its columns."""
        body = {"schema": schema, "queryLimit": limit, "client_id": secrets.token_hex(5)}
        found = self("POST", "sqllab/execute/", {"database_id": self.database, "sql": sql} | body)
        names = [column["column_name"] for column in found["columns"]]
        return [tuple(row[name] for name in names) for row in found["data"]]

    def dataset(self, schema: str, table: str) -> int:
        """Make a dataset of a table; its number."""
        body = {"database": self.database, "schema": schema, "table_name": table}
        return int(self("POST", "dataset/", body)["id"])

    def grains(self) -> set[str]:
        """The time grains that Superset offers, as ISO 8601 durations."""
        from superset.db_engine_specs import get_engine_spec  # noqa: PLC0415

        with self._app.app_context():
            return set(get_engine_spec("pondflight").get_time_grain_expressions()) - {None}

    def chart(self, dataset: int, **query: Any) -> list[dict[str, Any]]:
        """Rows of a chart; the number of rows unless other metrics are asked for."""
        source = {"datasource": {"id": dataset, "type": "table"}, "force": True}
        queries = [{"metrics": ["count"], "row_limit": 1000} | query]
        return list(self("POST", "chart/data", source | {"queries": queries})["result"][0]["data"])

    def over_time(self, column: str, grain: str, span: str = "No filter") -> list[tuple[int, int]]:
        """A chart over time: of each bucket that has sales, when it begins, and how many."""
        axis = {"columnType": "BASE_AXIS", "expressionType": "SQL", "sqlExpression": column}
        rows = self.chart(
            self.sale,
            columns=[axis | {"label": column, "timeGrain": grain}],
            granularity=column,
            filters=[{"col": column, "op": "TEMPORAL_RANGE", "val": span}],
            extras={"time_grain_sqla": grain},
        )
        return sorted((row[column], row["count"]) for row in rows)


def connection_is_tested() -> None:
    body = {"sqlalchemy_uri": URL, "database_name": "pond"}
    SUPERSET("POST", "database/test_connection/", body)
    body["sqlalchemy_uri"] = URL.replace(TOKEN, "wrong")
    (error,) = SUPERSET("POST", "database/test_connection/", body, 400)["errors"]
    assert error["error_type"] == "CONNECTION_ACCESS_DENIED_ERROR", error
    assert error["message"].startswith("The token in the URL is not accepted: "), error


def database_is_created() -> None:
    engines = SUPERSET("GET", "database/available/")["databases"]
    (ours,) = (engine for engine in engines if engine["engine"] == "pondflight")
    assert ours["available_drivers"] == ["flightsql"], ours
    body = {"sqlalchemy_uri": URL, "database_name": "pond", "allow_dml": True, "allow_ctas": True}
    SUPERSET.database = SUPERSET("POST", "database/", body | {"expose_in_sqllab": True})["id"]


def schemas_and_tables_are_listed() -> None:
    path = f"database/{SUPERSET.database}"
    schemas = SUPERSET("GET", f"{path}/schemas/?q=(force:!t)")["result"]
    assert sorted(schemas) == ["far.away", "far.main", "main", "shop"], schemas
    kinds = {"main": {("sale", "table"), ("dear", "view")}, "far.away": {("visit", "table")}}
    for schema, expected in kinds.items():
        found = SUPERSET("GET", f"{path}/tables/?q=(force:!t,schema_name:{schema})")["result"]
        assert {(table["value"], table["type"]) for table in found} == expected, found
    table = SUPERSET("GET", f"{path}/table_metadata/?name=visit&schema=far.away")
    assert SUPERSET.ask(table["selectStar"]) == [(7,)], table


def dataset_has_its_columns() -> None:
    SUPERSET.sale = SUPERSET.dataset("main", "sale")
    columns = SUPERSET("GET", f"dataset/{SUPERSET.sale}")["result"]["columns"]
    assert {column["column_name"]: column["type"] for column in columns} == COLUMNS, columns
    times = {column["column_name"] for column in columns if column["is_dttm"]}
    assert times == {"day", "sold", "zoned"}, times
    known = ("id", "column_name", "type", "is_dttm", "python_date_format")
    changed = [
        {name: column[name] for name in known}
        | (
            {"is_dttm": True, "python_date_format": "epoch_s"}
            if column["column_name"] == "seconds"
            else {}
        )
        for column in columns
    ]
    SUPERSET("PUT", f"dataset/{SUPERSET.sale}", {"columns": changed})


def chart_groups_filters_and_sorts() -> None:
    column = {"expressionType": "SIMPLE", "aggregate": "SUM", "column": {"column_name": "price"}}
    filters = [
        {"col": "shop", "op": "IN", "val": ["shop 1", "shop 2"]},
        {"col": "price", "op": ">", "val": 10},
    ]
    rows = SUPERSET.chart(
        SUPERSET.sale,
        columns=["shop"],
        metrics=["count", column | {"label": "total"}],
        filters=filters,
        orderby=[["count", False], ["shop", False]],
        row_limit=1,
    )
    assert rows == [{"shop": "shop 2", "count": 28, "total": 2037.0}], rows
    dataset = SUPERSET.dataset("far.away", "visit")
    assert SUPERSET.chart(dataset, columns=["n"]) == [{"n": 7, "count": 1}]


def chart_has_every_time_grain() -> None:
    grains = SUPERSET.grains()
    assert len(grains) == 17, grains
    for column in ("day", "sold", "zoned", "seconds"):
        for grain in grains:
            buckets = SUPERSET.over_time(column, grain)
            assert sum(count for _, count in buckets) == 90, (column, grain, buckets)
        months = [count for _, count in SUPERSET.over_time(column, "P1M")]
        assert months == [31, 28, 31], (column, months)
        mondays = [NEW_YEAR - 2 * DAY + 7 * DAY * week for week in range(WEEKS + 1)]
        assert [at for at, _ in SUPERSET.over_time(column, "P1W")] == mondays, column
        sundays = [at - DAY for at in mondays]
        found = SUPERSET.over_time(column, "1969-12-28T00:00:00Z/P1W")
        assert [at for at, _ in found] == sundays, (column, found)


def chart_keeps_to_a_span_of_time() -> None:
    for column in ("day", "sold", "zoned", "seconds"):
        for clock, first in (("00:00:00", 0), ("12:00:00", 1)):
            span = f"2025-01-15T{clock} : 2025-01-18T{clock}"
            expected = [(NEW_YEAR + (14 + first + i) * DAY, 1) for i in range(3)]
            found = SUPERSET.over_time(column, "P1D", span)
            assert found == expected, (column, span, found)


def sql_lab_runs_queries() -> None:
    assert len(SUPERSET.ask("SELECT * FROM sale", limit=5)) == 5
    assert SUPERSET.ask("FROM sale SELECT count(*), 5 % 2, ':x', '%'") == [(90, 1, ":x", "%")]
    assert SUPERSET.ask("SELECT n FROM item WHERE \"select\" = 'x'", "shop") == [(3,)]
    assert SUPERSET.ask("SELECT n FROM visit", "far.away") == [(7,)]
    assert ("sale",) in SUPERSET.ask("SHOW TABLES")
    assert len(SUPERSET.ask("DESCRIBE sale")) == len(COLUMNS)


def sql_lab_writes() -> None:
    SUPERSET.ask("CREATE TABLE made AS SELECT 1 AS i", "shop")
    SUPERSET.ask("INSERT INTO made VALUES (2), (3)", "shop")
    assert SUPERSET.ask("SELECT sum(i) FROM shop.made") == [(6,)]


def sql_lab_tells_errors() -> None:
    body = {"database_id": SUPERSET.database, "client_id": secrets.token_hex(5), "schema": "main"}
    wrong = "SELECT nothing FROM sale"
    (error,) = SUPERSET("POST", "sqllab/execute/", body | {"sql": wrong}, 500)["errors"]
    assert 'Referenced column "nothing" not found' in error["message"], error


if __name__ == "__main__":
    with sa.create_engine(URL, isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in filter(str.strip, SALES.split(";\n")):
            connection.execute(sa.text(statement))
    SUPERSET = Superset()
    report(
        connection_is_tested,
        database_is_created,
        schemas_and_tables_are_listed,
        dataset_has_its_columns,
        chart_groups_filters_and_sorts,
        chart_has_every_time_grain,
        chart_keeps_to_a_span_of_time,
        sql_lab_runs_queries,
        sql_lab_writes,
        sql_lab_tells_errors,
    )
