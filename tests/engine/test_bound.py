"""What statements come to, once DuckDB has bound them: by views, macros and what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine.guards.bound import table_functions
from pondflight.flightsql import wire
from tests.engine.conftest import MakeClient
from tests.flight import Client

Refused = (pa.ArrowInvalid, flight.FlightUnauthorizedError)
NOT_AVAILABLE = "not available here"

STORED = """
CREATE VIEW harmless AS SELECT * FROM range(3);
CREATE VIEW looks AS FROM duckdb_logs();
CREATE VIEW asks AS FROM query('SELECT 7 AS n');
CREATE MACRO runs(sql) AS TABLE FROM query(sql);
CREATE MACRO notes(x) AS write_log(x::VARCHAR);
CREATE TABLE defaults (i INT, note VARCHAR DEFAULT write_log('d'));
CREATE TABLE made (i INT, note VARCHAR AS (write_log('g')));
CREATE TABLE checks (i INT, CHECK (write_log('c') IS NULL));
CREATE TABLE plain (i INT, runs INT);
INSERT INTO plain VALUES (1, 2);
"""


@pytest.fixture(name="client")
def fixture_client(make_client: MakeClient, tmp_path: Path) -> Client:
    """Of a worker whose configuration attaches a file with all of that in it."""
    archive = tmp_path / "arch.duckdb"
    with duckdb.connect(archive) as made:
        made.execute(STORED)
    client = make_client()
    initial = "CREATE MACRO theirs() AS TABLE FROM query('SELECT 42 AS answer')"
    configuration = {
        "databases": [{"alias": "arch", "type": "duckdb", "connection_string": str(archive)}],
        "init_sql": initial,
        "sandbox": {"allow_network": False},
    }
    client.act(control.CONFIGURE, json.dumps(configuration).encode())
    return client


def run_all(client: Client, text: str) -> None:
    """Run ``text`` and fetch what it returns."""
    info = client.info(text)
    for endpoint in info.endpoints:
        client.flight.do_get(endpoint.ticket, client.options()).read_all()


@pytest.mark.parametrize(
    "sql",
    [
        "FROM arch.looks",
        'SELECT * FROM arch.main."LOOKS"',
        "USE arch; FROM looks",
        "FROM query_table('arch.looks')",
        "FROM arch.asks",
        "FROM arch.runs('SELECT 1')",
        "FROM arch.runs('FROM ' || 'duckdb_logs()')",
        "SELECT arch.notes(1)",
        "SELECT arch.main.notes (i) FROM arch.plain",
        "FROM arch.defaults",
        "FROM arch.made",
        "FROM arch.checks",
        "INSERT INTO arch.checks VALUES (1)",
        "CREATE TABLE x AS FROM arch.looks",
        "CREATE VIEW x AS FROM arch.looks",
        "PREPARE x AS FROM arch.looks",
        "COPY (FROM arch.looks) TO 'x.csv'",
        "PIVOT arch.looks ON type USING count(*)",
        "WITH x AS (FROM arch.looks) SELECT count(*) FROM x",
        "EXPLAIN ANALYZE FROM arch.looks",
        "SUMMARIZE arch.looks",
        "DESCRIBE arch.looks",
        "SET VARIABLE x = (SELECT count(*) FROM arch.looks)",
    ],
)
def test_what_a_file_brings_along_is_refused_if_it_calls_what_users_may_not(
    client: Client, sql: str
) -> None:
    update = wire.pack(wire.new("CommandStatementUpdate", query=sql))
    with pytest.raises(Refused, match=f"{NOT_AVAILABLE}|may not call here"):
        run_all(client, sql)
    with pytest.raises(Refused, match=f"{NOT_AVAILABLE}|may not call here"):
        client.put(update, pa.table({}))


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("FROM arch.harmless", [(0,), (1,), (2,)]),
        ("SELECT runs FROM arch.plain", [(2,)]),
        ("FROM theirs()", [(42,)]),
        ("SELECT 'looks' AS notes", [("looks",)]),
    ],
)
def test_what_calls_nothing_else_stays_free(
    client: Client, sql: str, rows: list[tuple[object, ...]]
) -> None:
    assert client.rows(sql) == rows
    assert client.rows(sql) == rows


def test_what_the_text_does_not_show_is_refused_by_the_plan(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a function's call had been spelt in a way that nobody has thought of."""
    monkeypatch.setattr("pondflight.engine.guards.sandbox.calls", lambda *_: frozenset())
    for sql in (
        "FROM duckdb_logs()",
        "CREATE TABLE x AS FROM duckdb_logs()",
        "INSERT INTO memory.t SELECT 1 FROM duckdb_logs()",
        "CALL truncate_duckdb_logs()",
        "PREPARE p AS FROM duckdb_logs(); EXECUTE p",
        "CREATE VIEW v AS FROM duckdb_logs(); FROM v",
        "EXPLAIN ANALYZE FROM duckdb_logs()",
        "FROM query('FROM duckdb_logs()')",
    ):
        client.info("CREATE TABLE IF NOT EXISTS memory.t (i INT)")
        with pytest.raises(flight.FlightUnauthorizedError, match=NOT_AVAILABLE):
            run_all(client, sql)


def test_a_text_is_looked_at_again_when_a_name_in_it_has_got_another_meaning(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pondflight.engine.guards.sandbox.calls", lambda *_: frozenset())
    client.info("CREATE VIEW memory.v AS SELECT 1 AS n")
    assert client.rows("FROM memory.v") == [(1,)]
    client.info("CREATE OR REPLACE VIEW memory.v AS FROM duckdb_logs()")
    with pytest.raises(flight.FlightUnauthorizedError, match=NOT_AVAILABLE):
        client.rows("FROM memory.v")


@pytest.mark.parametrize(
    "sql",
    [
        "FROM duckdb_databases()",
        "SELECT path FROM duckdb_databases()",
        "SELECT d FROM duckdb_databases() AS d",
        "SELECT d.path FROM DUCKDB_DATABASES ( ) d",
        'SELECT "path" AS database_name FROM system.main."duckdb_databases"()',
        "SELECT 1 FROM duckdb_databases() WHERE path LIKE '/%'",
        "CREATE VIEW v AS FROM duckdb_databases(); FROM v",
        "CREATE VIEW v AS FROM duckdb_databases(); PIVOT v ON path USING count(*)",
        "CREATE MACRO m() AS TABLE FROM duckdb_databases(); FROM m()",
        "PIVOT duckdb_databases() ON path USING count(*)",
        "SUMMARIZE FROM duckdb_databases()",
        "PREPARE p AS FROM duckdb_databases(); EXECUTE p",
        "SELECT path FROM duckdb_databases(/* */)",
        "FROM duckdb_settings()",
        "SELECT md5(value), value FROM main.duckdb_settings() WHERE name LIKE '%_directory'",
        "CREATE VIEW v AS FROM duckdb_settings(); FROM v",
        "PIVOT duckdb_settings() ON scope USING first(value)",
        "FROM duckdb_extensions()",
        "PRAGMA extension_versions",
        "FROM duckdb_temporary_files()",
        "FROM duckdb_secrets()",
    ],
)
def test_nobody_sees_where_files_are(client: Client, tmp_path: Path, sql: str) -> None:
    assert str(tmp_path) not in str(client.rows(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA database_list",
        "FROM pragma_database_list",
        "FROM query_table('pragma_database_list')",
        "CREATE VIEW v AS FROM pragma_database_list",
        "CREATE MACRO m() AS TABLE FROM pragma_database_list",
        "CREATE TABLE x AS FROM pragma_database_list",
        "PIVOT pragma_database_list ON file USING count(*)",
        "CALL duckdb_databases()",
        "SELECT md5(file) AS name FROM (FROM pragma_database_list)",
        "FROM pg_settings",
        "SELECT md5(setting) FROM pg_catalog.pg_settings",
        "SELECT name FROM pg_settings WHERE setting LIKE '/%'",
        "CREATE VIEW v AS FROM system.pg_catalog.pg_settings",
        "PIVOT pg_settings ON setting USING count(*)",
        "CALL duckdb_settings()",
        "CALL duckdb_extensions()",
        "FROM duckdb_logs()",
    ],
)
def test_what_would_show_where_files_are_is_refused(client: Client, sql: str) -> None:
    with pytest.raises(Refused, match=f"{NOT_AVAILABLE}|syntax error"):
        run_all(client, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT current_setting('{name}')",
        "SELECT system.main.CURRENT_SETTING ( '{upper}' )",
        "SELECT \"current_setting\"('temp_' || 'directory')",
        "CREATE MACRO m(x) AS current_setting(x)",
        "PREPARE p AS SELECT current_setting(?)",
        "SELECT current_setting($${name}$$)",
        "SELECT current_setting(E'{name}')",
        "SELECT current_setting(/* */'{name}')",
    ],
)
def test_a_setting_that_may_be_a_path_is_not_shown(client: Client, sql: str) -> None:
    for name in ("temp_directory", "allowed_paths", "secret_directory"):
        with pytest.raises(Refused, match=r"is not shown here|a plain string here"):
            client.rows(sql.format(name=name, upper=name.upper()))


def test_no_setting_that_is_shown_is_a_path(client: Client) -> None:
    shown = client.rows("SELECT name, value FROM duckdb_settings()")
    assert ("TimeZone", "UTC") in shown
    assert ("threads", "2") in shown
    assert [row for row in shown if str(row[1]).startswith(("/", "[/"))] == []
    assert client.rows("SELECT current_setting('TimeZone'), current_setting('threads')") == [
        ("UTC", 2)
    ]


def test_extensions_are_listed(client: Client) -> None:
    sql = "SELECT extension_name FROM duckdb_extensions() WHERE loaded"
    assert {("json",), ("icu",)} <= set(client.rows(sql))


def test_the_settings_of_a_server_are_not_duckdbs(client: Client) -> None:
    """Of PostgreSQL's ``pg_settings`` a view may be made: DuckDB's own is in no other catalog."""
    client.info("ATTACH ':memory:' AS pg; CREATE SCHEMA pg.pg_cat")
    client.info("CREATE TABLE pg.pg_cat.pg_settings AS SELECT '/' AS setting")
    client.info("CREATE VIEW v AS SELECT setting FROM pg.pg_cat.pg_settings")
    assert client.rows("FROM v") == client.rows("FROM pg.pg_cat.pg_settings") == [("/",)]


def test_everything_else_of_databases_is_free(client: Client) -> None:
    named = "SELECT database_name, type, readonly FROM duckdb_databases() WHERE NOT internal"
    assert ("arch", "duckdb", True) in client.rows(named)
    assert ("arch",) in client.rows("SHOW DATABASES")
    assert client.rows("SELECT count(*) FROM pg_catalog.pg_database") != [(0,)]


def test_functions_are_read_from_a_plan() -> None:
    with duckdb.connect() as database:
        database.execute("CREATE VIEW v AS SELECT count(*) FROM duckdb_logs()")
        row = database.execute("EXPLAIN (FORMAT json) FROM v, range(3), repeat('x', 2)").fetchone()
    assert row is not None
    assert {"duckdb_logs", "range", "repeat"} <= set(table_functions(json.loads(row[1])))
