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
from pondflight.engine.guards import functions
from pondflight.engine.server import EngineServer
from pondflight.flightsql import wire
from tests.engine.conftest import CREDENTIAL, MakeClient
from tests.engine.sandbox_corpus import (
    DATABASES,
    FILES,
    FREE,
    OUTSIDE,
    OUTSIDE_WORLD,
    SETTINGS,
    lines,
)
from tests.flight import Client

Refused = (pa.ArrowInvalid, flight.FlightUnauthorizedError)


def make_places(folder: Path) -> dict[str, str]:
    outside = folder / OUTSIDE
    outside.write_text("a\nsecret\n")
    shop = folder / "shop.db"
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("CREATE TABLE goods (id INTEGER)")
        connection.execute("INSERT INTO goods VALUES (1)")
    archive = folder / "arch.duckdb"
    with duckdb.connect(archive) as made:
        made.execute("CREATE TABLE goods AS SELECT 1 AS id")
    return {
        "outside": str(outside),
        "name": OUTSIDE,
        "shop": str(shop),
        "arch": str(archive),
        "files": str(files_folder(folder)),
    }


def close_jail(client: Client, places: dict[str, str]) -> Client:
    configuration = {
        "databases": [
            {"alias": "shop", "type": "sqlite", "connection_string": places["shop"]},
            {"alias": "arch", "type": "duckdb", "connection_string": places["arch"]},
        ],
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
    "sql", lines(FILES) + lines(DATABASES) + lines(SETTINGS) + lines(OUTSIDE_WORLD)
)
def test_there_is_no_way_out(prison: Prison, sql: str) -> None:
    text = sql.format(**prison.places)
    jail = prison.client
    before = sorted(path.name for path in prison.folder.iterdir())
    archive = Path(prison.places["arch"]).read_bytes()
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
    assert Path(prison.places["arch"]).read_bytes() == archive
    assert not list(Path(prison.places["files"]).iterdir())
    assert jail.rows("SELECT * FROM shop.goods") == [(1,)]
    assert jail.rows("SELECT * FROM arch.goods") == [(1,)]
    assert jail.rows("SELECT count(*) FROM t") == [(0,)]
    assert jail.rows("SELECT system.main.current_setting('threads')") == [(2,)]


def test_databases_are_of_the_type_that_is_configured(jail: Client) -> None:
    named = jail.rows("SELECT database_name, type FROM duckdb_databases() WHERE NOT internal")
    assert {("shop", "sqlite"), ("arch", "duckdb")} <= set(named)


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


def test_an_error_that_quotes_bytes_is_the_statements(jail: Client, places: dict[str, str]) -> None:
    run_all(jail, f"ATTACH '{places['files']}/mine.db' AS mine; CREATE TABLE mine.x (i INT)")
    with pytest.raises(pa.ArrowInvalid, match="Error: "):
        jail.rows(f"FROM '{places['files']}/mine.db'")


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


def test_every_function_that_may_be_called_is_one_of_this_duckdb() -> None:
    """A name that is not there would allow whatever a new version gives that name to."""
    query = "SELECT DISTINCT function_name FROM duckdb_functions()"
    with duckdb.connect(config={"allow_unsigned_extensions": "true"}) as plain:
        extensions.load(plain, ["sqlite", "postgres", "mysql"])
        there = {name.lower() for (name,) in plain.execute(query).fetchall()}
    assert there >= functions.CALLABLE
    for name in there:
        if name.startswith(("mysql_", "postgres_", "sqlite_", "enable_", "disable_", "__")):
            assert not functions.may_call(name) or name in functions.DOING | functions.OF_EXTENSIONS


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
    client.info("CREATE OR REPLACE SECRET mine (TYPE s3, KEY_ID 'c', SECRET 'd')")
    client.info("DROP SECRET mine")
    for sql in ("FROM read_text('/etc/passwd')", f"FROM read_csv('{places['outside']}')"):
        with pytest.raises(Refused, match="Cannot access file"):
            client.rows(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP SECRET theirs",
        'DROP TEMPORARY SECRET IF EXISTS "Theirs"',
        "CREATE OR REPLACE SECRET theirs (TYPE s3, KEY_ID 'c', SECRET 'd')",
        "CREATE OR REPLACE TEMPORARY SECRET\u200btheirs (TYPE s3)",
        "CREATE OR REPLACE SECRET (TYPE s3, KEY_ID 'c', SECRET 'd')",
        "CREATE OR REPLACE SECRET __default_s3 (TYPE s3)",
        "DROP SECRET __default_s3",
        "DROP PERSISTENT SECRET IF EXISTS theirs",
    ],
)
def test_secrets_of_the_administrator_stay(make_client: MakeClient, sql: str) -> None:
    client = make_client()
    configuration = {
        "extensions": ["httpfs"],
        "init_sql": "CREATE SECRET Theirs (TYPE s3, KEY_ID 'a', SECRET 'b');"
        "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "sandbox": {"allow_network": True},
    }
    client.act(control.CONFIGURE, json.dumps(configuration).encode())
    secrets = client.rows("SELECT name, secret_string FROM duckdb_secrets() ORDER BY ALL")
    assert [name for name, _ in secrets] == ["__default_s3", "theirs"]
    with pytest.raises(Refused, match="the server's own secrets"):
        run_all(client, sql)
    assert client.rows("SELECT name, secret_string FROM duckdb_secrets() ORDER BY ALL") == secrets


def test_the_network_is_closed_by_default(jail: Client, website: str) -> None:
    with pytest.raises(Refused):
        jail.rows(f"FROM read_csv('{website}')")
