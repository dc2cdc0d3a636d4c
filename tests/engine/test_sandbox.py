"""What user SQL cannot do in the sandbox, and what it still can; each line as a client sends it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine import extensions
from pondflight.engine.duck import files_folder, open_database
from pondflight.engine.sandbox import REFUSED_FUNCTIONS
from pondflight.engine.server import EngineServer
from pondflight.flightsql import wire
from tests.engine.conftest import CREDENTIAL, MakeClient
from tests.flight import Client

Refused = (pa.ArrowInvalid, flight.FlightUnauthorizedError)

OUTSIDE = "outside.csv"

FILES = """
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM '/etc/passwd'
SELECT * FROM read_blob('/proc/self/environ')
SELECT * FROM read_blob('/proc/self/cmdline')
SELECT * FROM read_csv('{outside}')
SELECT * FROM read_csv_auto('{outside}')
SELECT * FROM '{outside}'
SELECT * FROM read_json('{outside}')
SELECT * FROM read_parquet('{outside}')
SELECT * FROM parquet_metadata('{outside}')
SELECT * FROM sniff_csv('{outside}')
SELECT * FROM read_duckdb('{outside}')
SELECT * FROM glob('/*')
SELECT * FROM glob('{files}/../*')
SELECT * FROM read_csv('{files}/../{name}')
SELECT * FROM read_text(['{files}/x', '/etc/passwd'])
SELECT * FROM query_table(['{outside}'])
COPY (SELECT 1) TO '/etc/owned'
COPY (SELECT 1) TO '{outside}'
COPY (SELECT 1) TO '{files}/../owned.csv'
COPY (SELECT 1) TO '/proc/self/mem' (FORMAT csv)
COPY (SELECT 1) TO '{shop}'
COPY (SELECT 1) TO '{shop}' (USE_TMP_FILE false)
COPY (SELECT 1) TO '{shop}' ("use_tmp_file" 'f')
COPY (SELECT 1) TO '{shop}.wal'
COPY (SELECT 1) TO '{shop}-journal'
COPY (SELECT 1) TO ('{files}/../' || 'owned.csv')
COPY (SELECT 1) TO ('{shop}' || '.wal')
COPY t TO E'{shop}.wal'
COPY t TO $${shop}.wal$$
COPY t (i) FROM ('{shop}' || '')
EXPORT DATABASE memory TO '{files}/../owned'
COPY t FROM '{outside}'
EXPORT DATABASE '/tmp/owned'
EXPORT DATABASE '{files}/../owned'
IMPORT DATABASE '/tmp'
IMPORT DATABASE '{files}'
CREATE TABLE x AS SELECT * FROM read_text('/etc/passwd')
CREATE VIEW x AS SELECT * FROM read_text('/etc/passwd')
CREATE MACRO x() AS TABLE SELECT * FROM read_text('/etc/passwd')
PREPARE x AS SELECT * FROM read_text('/etc/passwd')
INSERT INTO t SELECT content::INT FROM read_text('/etc/passwd')
EXPLAIN ANALYZE SELECT * FROM read_text('/etc/passwd')
WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x
SELECT (SELECT content FROM read_text('/etc/passwd'))
.read /etc/passwd
SELECT getenv('HOME')
"""

DATABASES = """
ATTACH '{outside}' AS x
ATTACH '{shop}' AS x
ATTACH '{shop}' AS x (TYPE sqlite)
ATTACH '{shop}' AS x ("TYPE" 'sqlite')
ATTACH '{shop}' AS x (READ_ONLY, TYPE SQLITE)
ATTACH 'sqlite:{shop}' AS x
ATTACH $$sqlite:{shop}$$ AS x
ATTACH E'sqlite:{shop}' AS x
ATTACH ':memory:' AS x (TYPE sqlite)
ATTACH '{files}/../owned.db' AS x
ATTACH 'host=127.0.0.1 port=1' AS x (TYPE postgres)
ATTACH 'postgres:host=127.0.0.1 port=1' AS x
ATTACH 'host=127.0.0.1 port=1' AS x (TYPE mysql)
ATTACH 'md:' AS x
ATTACH OR REPLACE ':memory:' AS shop
ATTACH OR REPLACE ':memory:' AS memory
ATTACH ':memory:' AS shop
DETACH shop
DETACH DATABASE IF EXISTS shop
DETACH "SHOP"
DETACH memory
DROP SCHEMA shop.main
DROP TABLE shop.goods
DELETE FROM shop.goods
INSERT INTO shop.goods VALUES (2)
CREATE TABLE shop.mine (i INT)
CALL sqlite_attach('{shop}')
SELECT * FROM sqlite_scan('{shop}', 'goods')
SELECT * FROM sqlite_scan ('{shop}', 'goods')
SELECT * FROM sqlite_scan/* */('{shop}', 'goods')
SELECT * FROM sqlite_scan -- ( comment
 ('{shop}', 'goods')
SELECT * FROM SQLITE_SCAN('{shop}', 'goods')
SELECT * FROM "sqlite_scan"('{shop}', 'goods')
SELECT * FROM "sqlite_scan" /* */ ('{shop}', 'goods')
SELECT * FROM system.main.sqlite_scan('{shop}', 'goods')
SELECT * FROM t, sqlite_scan('{shop}', 'goods')
SELECT * FROM (FROM sqlite_scan('{shop}', 'goods'))
SELECT * FROM sqlite_query('shop', 'SELECT 1')
CREATE VIEW x AS FROM sqlite_scan('{shop}', 'goods')
CREATE MACRO x() AS TABLE FROM sqlite_scan('{shop}', 'goods')
PREPARE x AS FROM sqlite_scan('{shop}', 'goods')
INSERT INTO t FROM sqlite_scan('{shop}', 'goods')
SELECT 1; SELECT * FROM sqlite_scan('{shop}', 'goods')
SELECT * FROM query('FROM sqlite_' || 'scan(''{shop}'', ''goods'')')
FROM system.main.query('SELECT 1')
FROM "query"('SELECT 1')
SELECT * FROM t JOIN query('SELECT 1') AS x ON true
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
PRAGMA json_execute_serialized_sql('[]')
SELECT * FROM postgres_scan('host=127.0.0.1 port=1', 'public', 't')
SELECT * FROM postgres_scan_pushdown('host=127.0.0.1 port=1', 'public', 't')
SELECT * FROM postgres_query('shop', 'SELECT 1')
CALL postgres_execute('shop', 'SELECT 1')
CALL postgres_attach('host=127.0.0.1 port=1')
SELECT * FROM mysql_query('shop', 'SELECT 1')
CALL mysql_execute('shop', 'SELECT 1')
SELECT * FROM arrow_scan(1, 2, 3)
SELECT * FROM pandas_scan(1)
"""

SETTINGS = """
SET memory_limit = '100GB'
SET max_memory = '100GB'
RESET memory_limit
PRAGMA memory_limit = '100GB'
SET threads = 64
SET GLOBAL threads = 64
SET worker_threads = 64
RESET threads
PRAGMA threads = 64
SET temp_directory = '/tmp'
SET max_temp_directory_size = '1TB'
SET enable_external_access = true
RESET enable_external_access
SET lock_configuration = false
RESET lock_configuration
SET allowed_configs = ['threads']
SET allowed_directories = ['/']
SET allowed_paths = ['/etc/passwd']
SET disabled_filesystems = 'LocalFileSystem'
SET home_directory = '/'
SET file_search_path = '/etc'
SET secret_directory = '/tmp'
SET default_secret_storage = 'local_file'
SET allow_persistent_secrets = true
SET allow_unredacted_secrets = true
SET extension_directory = '/tmp'
SET custom_extension_repository = 'http://127.0.0.1:1'
SET autoinstall_extension_repository = 'http://127.0.0.1:1'
SET autoinstall_known_extensions = true
SET autoload_known_extensions = true
SET allow_community_extensions = true
SET allow_unsigned_extensions = true
SET python_enable_replacements = true
SET python_scan_all_frames = true
SET enable_profiling = 'json'
SET profiling_output = '/tmp/owned.json'
PRAGMA profiling_output = '/tmp/owned.json'
PRAGMA enable_profiling
SET log_query_path = '/tmp/owned.log'
SET enable_logging = true
SET logging_storage = 'file'
CALL enable_logging()
CALL enable_logging('QueryLog')
CALL enable_logging(storage = 'file', storage_path = '/tmp/owned')
SELECT * FROM enable_logging('QueryLog')
CALL disable_logging()
CALL truncate_duckdb_logs()
SET http_proxy = 'http://127.0.0.1:1'
SET custom_user_agent = 'x'
SET debug_force_external = true
SET arrow_large_buffer_size = true
PRAGMA enable_verification
PRAGMA verify_external
PRAGMA disable_optimizer
PRAGMA enable_object_cache
"""

OUTSIDE_WORLD = """
INSTALL httpfs
INSTALL httpfs FROM community
INSTALL 'http://127.0.0.1:1/x.duckdb_extension'
FORCE INSTALL httpfs
LOAD httpfs
LOAD sqlite
LOAD '{outside}'
UPDATE EXTENSIONS
SELECT * FROM 'http://127.0.0.1:1/x.parquet'
SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')
SELECT * FROM read_csv('https://127.0.0.1:1/x.csv')
SELECT * FROM read_parquet('s3://bucket/x.parquet')
SELECT * FROM read_text('http://169.254.169.254/latest/meta-data/')
COPY (SELECT 1) TO 's3://bucket/x.csv'
CREATE SECRET x (TYPE s3, KEY_ID 'a', SECRET 'b')
CREATE OR REPLACE SECRET x (TYPE postgres, HOST '127.0.0.1')
CREATE PERSISTENT SECRET x (TYPE s3)
CREATE TEMPORARY SECRET x (TYPE http)
DROP SECRET x
DROP PERSISTENT SECRET IF EXISTS x
"""

FREE = """
SELECT 1
CREATE TABLE mine (i INT)
CREATE TEMP TABLE mine (i INT)
CREATE TABLE import (load INT, attach INT)
CREATE TABLE query (query INT)
CREATE TABLE main.query (query INT); INSERT INTO main.query (query) VALUES (1)
CREATE INDEX idx ON t (i)
WITH query (n) AS (SELECT 1) SELECT n FROM query
SELECT 'postgres_scan(' AS "sqlite_scan(", 1 AS query
CREATE SCHEMA s
CREATE VIEW v AS SELECT * FROM t
CREATE MACRO twice(x) AS x * 2
CREATE TYPE mood AS ENUM ('a')
CREATE SEQUENCE seq
USE memory.main
SET search_path = 'main'
SET schema = 'main'
SET TimeZone = 'Europe/Berlin'
RESET TimeZone
SET VARIABLE x = 1
SET default_order = 'desc'
SET default_null_order = 'nulls_first'
SET integer_division = true
SET preserve_insertion_order = false
SET statement_timeout = '10s'
BEGIN; ROLLBACK
SELECT * FROM shop.goods
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_databases()
SELECT * FROM duckdb_secrets()
SELECT * FROM information_schema.tables
PRAGMA table_info('t')
PRAGMA database_size
SHOW ALL TABLES
DESCRIBE t
SUMMARIZE t
PIVOT (SELECT 1 AS i, 'a' AS s) ON s USING sum(i)
EXPLAIN ANALYZE SELECT * FROM t
CHECKPOINT
VACUUM
ANALYZE
PREPARE p AS SELECT 1; EXECUTE p
ATTACH ':memory:' AS other; CREATE TABLE other.x (i INT); USE memory; DETACH other
ATTACH '{files}/mine.db' AS mine; CREATE TABLE mine.x AS SELECT 1 AS i; DETACH mine
COPY (SELECT 1 AS i) TO '{files}/mine.csv'; SELECT * FROM read_csv('{files}/mine.csv')
COPY (SELECT 1 AS i) TO '{files}/mine.parquet'; SELECT * FROM '{files}/mine.parquet'
COPY t FROM '{files}/mine.csv'
EXPORT DATABASE '{files}/exported'
COPY t (i) TO '{files}/t.csv' (HEADER false)
COPY (SELECT 'to' AS "to" FROM t) TO '{files}/t.csv'
SELECT * FROM glob('{files}/*')
SELECT * FROM query_table('t')
COPY FROM DATABASE shop TO memory
"""


def lines(text: str) -> list[str]:
    """One statement per line; a line that begins with a blank goes on with the one before."""
    return text.strip().replace("\n ", "\x01 ").split("\n")


def make_places(folder: Path) -> dict[str, str]:
    outside = folder / OUTSIDE
    outside.write_text("a\nsecret\n")
    shop = folder / "shop.db"
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("CREATE TABLE goods (id INTEGER)")
        connection.execute("INSERT INTO goods VALUES (1)")
    return {
        "outside": str(outside),
        "name": OUTSIDE,
        "shop": str(shop),
        "files": str(files_folder(folder)),
    }


def close_jail(client: Client, places: dict[str, str]) -> Client:
    configuration = {
        "databases": [{"alias": "shop", "type": "sqlite", "connection_string": places["shop"]}],
        "sandbox": {"allow_network": False},
    }
    client.act(control.CONFIGURE, json.dumps(configuration).encode())
    client.info("CREATE TABLE t (i INT)")
    return client


@pytest.fixture(name="places")
def fixture_places(tmp_path: Path) -> dict[str, str]:
    return make_places(tmp_path)


@pytest.fixture(name="jail")
def fixture_jail(make_client: MakeClient, places: dict[str, str]) -> Client:
    return close_jail(make_client(), places)


@dataclass(frozen=True)
class Prison:
    """One jail for all who try to break out: what is refused leaves no trace."""

    client: Client
    places: dict[str, str]
    folder: Path


@pytest.fixture(name="prison", scope="module")
def fixture_prison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prison]:
    folder = tmp_path_factory.mktemp("prison")
    server = EngineServer(
        "grpc://127.0.0.1:0",
        database=open_database(folder, memory_limit=512 << 20, threads=2),
        credential_sha256=hashlib.sha256(CREDENTIAL.encode()).hexdigest(),
        scratch=folder,
    )
    client = Client(f"grpc://127.0.0.1:{server.port}", CREDENTIAL)
    places = make_places(folder)
    yield Prison(close_jail(client, places), places, folder)
    client.close()
    server.close()


def run_all(client: Client, text: str) -> None:
    """Run ``text`` and fetch what it returns."""
    info = client.info(text)
    for endpoint in info.endpoints:
        client.flight.do_get(endpoint.ticket, client.options()).read_all()


@pytest.mark.parametrize(
    "sql", lines(FILES + DATABASES.lstrip() + SETTINGS.lstrip() + OUTSIDE_WORLD.lstrip())
)
def test_there_is_no_way_out(prison: Prison, sql: str) -> None:
    text = sql.replace("\x01", "\n").format(**prison.places)
    jail = prison.client
    before = sorted(path.name for path in prison.folder.iterdir())
    update = wire.pack(wire.new("CommandStatementUpdate", query=text))
    ways: list[Callable[[], object]] = [
        lambda: run_all(jail, text),
        lambda: jail.put(update, pa.table({})),
    ]
    for way in ways:
        with pytest.raises(Refused) as caught:
            way()
        assert "Traceback" not in str(caught.value)
    # Nothing was written, nothing is lost, and the worker works.
    assert sorted(path.name for path in prison.folder.iterdir()) == before
    assert not list(Path("/tmp").glob("owned*"))
    assert jail.rows("SELECT * FROM shop.goods") == [(1,)]
    assert jail.rows("SELECT count(*) FROM t") == [(0,)]
    assert jail.rows("SELECT current_setting('threads')") == [(2,)]


@pytest.mark.parametrize("sql", lines(FREE))
def test_ones_own_work_stays_free(
    make_client: MakeClient, jail: Client, places: dict[str, str], sql: str
) -> None:
    files = Path(places["files"])
    (files / "mine.csv").write_text("i\n1\n")
    run_all(make_client("a-session-of-ones-own"), sql.format(**places))
    assert jail.rows("SELECT 1") == [(1,)]


def test_a_file_name_alone_means_the_scratch_directory(
    jail: Client, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places["files"])  # where a worker runs
    run_all(jail, "COPY (SELECT 7 AS n) TO 'mine.csv'")
    assert jail.rows("FROM 'mine.csv'") == [(7,)]


def test_a_link_out_of_the_scratch_directory_leads_nowhere(
    jail: Client, places: dict[str, str]
) -> None:
    link = Path(places["files"]) / "link"
    link.symlink_to("/etc/passwd")
    with pytest.raises(Refused, match="Cannot access file"):
        jail.rows(f"SELECT * FROM read_text('{link}')")


def test_what_does_not_fit_into_memory_still_spills(jail: Client) -> None:
    numbers = "SELECT range AS i, md5(range::VARCHAR) AS m FROM range(12000000)"
    sql = f"SELECT count(*) FROM ({numbers} ORDER BY m)"
    assert jail.rows(sql) == [(12_000_000,)]


def test_loads_and_parameters_work_in_the_sandbox(jail: Client) -> None:
    options = wire.new("TableDefinitionOptions", if_not_exist=1, if_exists=1)
    command = wire.new("CommandStatementIngest", table="loaded", table_definition_options=options)
    jail.put(wire.pack(command), pa.table({"n": [1, 2, 3]}))
    assert jail.rows("SELECT sum(n) FROM loaded") == [(6,)]


def test_without_the_sandbox_files_are_open(
    make_client: MakeClient, places: dict[str, str]
) -> None:
    client = make_client()
    client.act(control.CONFIGURE, b"{}")
    assert client.rows(f"FROM read_csv('{places['outside']}')") == [("secret",)]


def test_every_function_of_the_database_extensions_is_refused_or_harmless() -> None:
    """A new version of an extension may bring new ways out."""
    harmless = {
        "mysql_clear_cache",
        "pg_clear_cache",
        "postgres_hstore_get",
        "postgres_hstore_to_json",
    }
    query = "SELECT DISTINCT function_name FROM duckdb_functions()"
    with duckdb.connect() as plain:
        known = {name for (name,) in plain.execute(query).fetchall()}
        extensions.load(plain, ["sqlite", "postgres", "mysql"])
        new = {name for (name,) in plain.execute(query).fetchall()} - known
    assert new
    assert new - harmless <= REFUSED_FUNCTIONS


@pytest.fixture(name="website")
def fixture_website(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that has one CSV file."""
    folder = tmp_path / "website"
    folder.mkdir()
    (folder / "birds.csv").write_text("name\ncoot\n")
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/birds.csv"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_network_is_open_when_it_is_allowed_and_files_are_not(
    make_client: MakeClient, places: dict[str, str], website: str
) -> None:
    client = make_client()
    configuration = {"extensions": ["httpfs"], "sandbox": {"allow_network": True}}
    client.act(control.CONFIGURE, json.dumps(configuration).encode())
    assert client.rows(f"FROM read_csv('{website}')") == [("coot",)]
    client.info("CREATE SECRET mine (TYPE s3, KEY_ID 'a', SECRET 'b')")
    client.info("DROP SECRET mine")
    for sql in ("FROM read_text('/etc/passwd')", f"FROM read_csv('{places['outside']}')"):
        with pytest.raises(Refused, match="Cannot access file"):
            client.rows(sql)


def test_the_network_is_closed_by_default(jail: Client, website: str) -> None:
    with pytest.raises(Refused):
        jail.rows(f"FROM read_csv('{website}')")
