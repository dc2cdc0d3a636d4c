"""The limit of a user's own tables: whatever statement adds to them, it counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from pyarrow import flight

from pondflight import control
from pondflight.engine.duck import files_folder, open_database
from pondflight.engine.guards.storage import Storage
from pondflight.engine.guards.stored import Kept
from pondflight.engine.server import EngineServer
from tests.engine.conftest import CREDENTIAL
from tests.flight import Client

LIMIT = 16 << 20
FILLING = "SELECT md5((range + random())::VARCHAR) AS m FROM range(150000)"
MORE = "SELECT md5((range + random())::VARCHAR) AS m FROM range(20000)"
SIZE = (
    "pragma_database_size() AS TABLE"
    " SELECT 0 AS used_blocks, 0 AS block_size, '0 bytes' AS wal_size, 'home' AS database_name"
)


@pytest.fixture(name="client")
def fixture_client(tmp_path: Path) -> Iterator[Client]:
    """A worker whose user may keep little."""
    storage = Storage(tmp_path / "storage")
    database = open_database(tmp_path, memory_limit=512 << 20, threads=2, file=storage.file)
    server = EngineServer(
        "grpc://127.0.0.1:0",
        database=database,
        credential_sha256=hashlib.sha256(CREDENTIAL.encode()).hexdigest(),
        scratch=tmp_path,
        storage=storage,
    )
    client = Client(f"grpc://127.0.0.1:{server.port}", CREDENTIAL, x_pondflight_session="one")
    configuration = {"storage_limit": LIMIT, "sandbox": {"allow_network": False}}
    client.act(control.CONFIGURE, json.dumps(configuration).encode())
    client.info("CREATE TABLE filled (m VARCHAR)")
    yield client
    client.close()
    server.close()


def fill(client: Client) -> None:
    """Add until there is no room."""
    for _ in range(20):
        try:
            client.info(f"INSERT INTO filled {FILLING}")
        except flight.FlightUnavailableError:
            return
    raise AssertionError("it is never full")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO filled VALUES ('one more')",
        "CREATE TABLE more AS SELECT 1 AS n",
        "UPDATE filled SET m = m || '!'",
        "EXECUTE prepared",
        f"EXPLAIN ANALYZE INSERT INTO filled {MORE}",
        f"EXPLAIN (ANALYZE, FORMAT json) CREATE TABLE more AS {MORE}",
        "EXPLAIN ANALYZE EXECUTE prepared",
        "ALTER TABLE filled ADD COLUMN more VARCHAR DEFAULT md5(random()::VARCHAR)",
        "ALTER TABLE filled ALTER m TYPE VARCHAR USING m || m",
        "COPY FROM DATABASE other TO home",
    ],
)
def test_who_is_at_the_limit_cannot_add(client: Client, sql: str) -> None:
    client.info(f"PREPARE prepared AS INSERT INTO filled {MORE}")
    client.info("ATTACH ':memory:' AS other; CREATE TABLE other.more AS SELECT 1 AS n")
    fill(client)
    with pytest.raises(flight.FlightUnavailableError, match="your storage is full"):
        client.info(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM filled",
        "EXPLAIN ANALYZE SELECT count(*) FROM filled",
        "ALTER TABLE filled RENAME TO renamed",
        "ALTER TABLE two DROP COLUMN second",
        "DELETE FROM filled",
        "DROP TABLE filled",
        "PREPARE later AS INSERT INTO filled VALUES ('x')",
    ],
)
def test_who_is_at_the_limit_can_read_and_make_room(client: Client, sql: str) -> None:
    client.info("CREATE TABLE two AS SELECT 1 AS first, 2 AS second")
    fill(client)
    client.info(sql)


@pytest.mark.parametrize(
    "macro",
    [
        SIZE,
        "current_database() AS 'elsewhere'",
        '"*"(a, b) AS 0',
    ],
)
def test_macros_of_the_user_do_not_measure_the_storage(client: Client, macro: str) -> None:
    client.info(f"CREATE MACRO {macro}")
    fill(client)
    assert client.rows("SELECT count(*) > 0 FROM filled") == [(True,)]


def test_stored_objects_that_call_what_is_refused_are_dropped_at_the_start(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "storage")
    database = open_database(tmp_path, memory_limit=512 << 20, threads=2, file=storage.file)
    refused = frozenset({"query"})
    database.execute("CREATE MACRO bad(s) AS TABLE FROM query(s)")
    database.execute("CREATE MACRO good(s) AS s || 'query'")
    database.execute("CREATE TABLE query (i INT); CREATE VIEW fine AS FROM query")
    database.execute("CREATE SCHEMA s; CREATE VIEW s.worse AS SELECT * FROM query('SELECT 1')")
    kept = Kept(database, refused)
    kept.read_storage()
    assert not kept.refused
    assert database.execute("SELECT good('a ')").fetchall() == [("a query",)]
    assert database.execute("FROM fine").fetchall() == []
    for gone in ("FROM bad('SELECT 1')", "FROM s.worse"):
        with pytest.raises(duckdb.CatalogException):
            database.execute(gone)
    database.close()


@pytest.fixture(name="writer")
def fixture_writer(tmp_path: Path) -> Iterator[Client]:
    """A worker whose user may write few scratch files."""
    database = open_database(tmp_path, memory_limit=512 << 20, threads=2)
    server = EngineServer(
        "grpc://127.0.0.1:0",
        database=database,
        credential_sha256=hashlib.sha256(CREDENTIAL.encode()).hexdigest(),
        scratch=tmp_path,
        storage=Storage(None, files_folder(tmp_path)),
    )
    client = Client(f"grpc://127.0.0.1:{server.port}", CREDENTIAL, x_pondflight_session="one")
    configuration = {"scratch_limit": LIMIT, "sandbox": {"allow_network": False}}
    client.act(control.CONFIGURE, json.dumps(configuration).encode())
    yield client
    client.close()
    server.close()


@pytest.mark.parametrize(
    "sql",
    [
        "COPY ({rows}) TO '{files}/big.csv'",
        "COPY ({rows}) TO '{files}/big' (FORMAT csv, PER_THREAD_OUTPUT)",
        "CREATE TABLE t AS {rows}; EXPORT DATABASE '{files}/big' (FORMAT csv)",
        "ATTACH '{files}/big.db' AS big; CREATE TABLE big.t AS {rows}",
    ],
)
def test_scratch_files_that_grow_too_large_are_stopped(
    writer: Client, tmp_path: Path, sql: str
) -> None:
    files = files_folder(tmp_path)
    rows = "SELECT md5((range + random())::VARCHAR) AS m FROM range(8_000_000)"
    with pytest.raises(flight.FlightUnavailableError, match="your scratch directory is full"):
        writer.info(sql.format(rows=rows, files=files))
    assert sum(path.stat().st_size for path in files.rglob("*") if path.is_file()) < 4 * LIMIT


def test_a_full_scratch_directory_takes_nothing_more(writer: Client, tmp_path: Path) -> None:
    files = files_folder(tmp_path)
    (files / "full.csv").write_bytes(bytes(LIMIT))
    with pytest.raises(flight.FlightUnavailableError, match=r"duckdb\.scratch_limit"):
        writer.info(f"COPY (SELECT 1) TO '{files}/more.csv'")
    assert writer.rows("SELECT 1") == [(1,)]
