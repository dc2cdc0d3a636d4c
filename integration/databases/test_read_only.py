"""PostgreSQL's transactions are READ ONLY for read-only databases, and for query-only calls."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from pyarrow import flight

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS
from integration.deployment import Deployment
from integration.servers import Postgres
from pondflight import control
from pondflight.engine.duck import literal

_BEGIN = re.compile(r"statement: (BEGIN\b.*)")
_READ_ONLY = re.compile(r"\bREAD ONLY\b")


@pytest.fixture(scope="module", name="counter")
def fixture_counter(postgres: Postgres) -> Iterator[str]:
    """Return a database with a view that writes a row whenever it is read, as its reader may."""
    postgres.run("CREATE DATABASE counter")
    postgres.run(
        "CREATE TABLE reads (n int);"
        "CREATE FUNCTION count_read() RETURNS int LANGUAGE sql"
        " AS $$ INSERT INTO reads VALUES (1) RETURNING n $$;"
        "CREATE VIEW counted AS SELECT count_read() AS n;"
        f"GRANT ALL ON reads, counted TO {postgres.user}",
        "counter",
    )
    yield postgres.url("counter")
    postgres.run("DROP DATABASE counter WITH (FORCE)")


def deployment_of(deploy: Deploy, url: str, *, read_only: bool) -> Deployment:
    entry = {"alias": "c", "type": "postgres", "connection_string": url, "read_only": read_only}
    return deploy({"duckdb": {"attached_databases": [entry]}, "security": NO_LIMITS})


def count(postgres: Postgres) -> int:
    return int(postgres.run("SELECT count(*) FROM reads", "counter"))


def read(deployment: Deployment) -> list[tuple[int]]:
    with deployment.connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM c.public.counted")
        return cursor.fetchall()


def test_a_view_that_writes_is_refused_by_the_server(
    deploy: Deploy, postgres: Postgres, counter: str
) -> None:
    rows, before = count(postgres), len(postgres.log())
    with pytest.raises(Exception, match="cannot execute INSERT in a read-only transaction"):
        read(deployment_of(deploy, counter, read_only=True))
    begun = _BEGIN.findall(postgres.log()[before:])
    assert begun
    assert [text for text in begun if not _READ_ONLY.search(text)] == []
    assert count(postgres) == rows


def test_with_read_only_false_it_writes(deploy: Deploy, postgres: Postgres, counter: str) -> None:
    rows = count(postgres)
    assert read(deployment_of(deploy, counter, read_only=False)) == [(1,)]
    assert count(postgres) == rows + 1


def attached_by_sql(deploy: Deploy, postgres: Postgres) -> Deployment:
    """As ``deployment_of``, for writing, by the administrator's own SQL."""
    login = {"HOST": "127.0.0.1", "PORT": str(postgres.port), "DATABASE": "counter"}
    login |= {"USER": postgres.user, "PASSWORD": postgres.password}
    secret = ", ".join(f"{name} {literal(value)}" for name, value in login.items())
    sql = f"CREATE SECRET s (TYPE postgres, {secret}); ATTACH '' AS c (TYPE postgres, SECRET s)"
    return deploy({"duckdb": {"init_sql": sql}, "security": NO_LIMITS})


@pytest.mark.parametrize("by_sql", [False, True], ids=["configured", "init_sql"])
def test_a_call_that_only_queries_is_read_only_at_a_server_that_may_be_written(
    deploy: Deploy, postgres: Postgres, counter: str, *, by_sql: bool
) -> None:
    rows = count(postgres)
    deployment = (
        attached_by_sql(deploy, postgres)
        if by_sql
        else deployment_of(deploy, counter, read_only=False)
    )
    headers = {"authorization": f"Bearer {deployment.token()}", control.QUERY_HEADER: "1"}
    options = flight.FlightCallOptions(
        headers=[(name.encode(), value.encode()) for name, value in headers.items()]
    )

    def query(sql: str) -> list[dict[str, int]]:
        descriptor = flight.FlightDescriptor.for_command(sql.encode())
        with deployment.client() as client:
            info = client.get_flight_info(descriptor, options)
            found: list[dict[str, int]] = (
                client.do_get(info.endpoints[0].ticket, options).read_all().to_pylist()
            )
            return found

    with pytest.raises(Exception, match="cannot execute INSERT in a read-only transaction"):
        query("SELECT n FROM c.public.counted")
    assert query("SELECT count(*) AS n FROM c.public.reads") == [{"n": rows}]
    assert count(postgres) == rows


def test_the_settings_of_the_server_are_there(deploy: Deploy, counter: str) -> None:
    deployment = deployment_of(deploy, counter, read_only=True)
    with deployment.connect(autocommit=True) as connection, connection.cursor() as cursor:
        name = "SELECT setting FROM {} WHERE name = 'transaction_read_only'"
        for sql in (
            name.format("c.pg_catalog.pg_settings"),
            f"CREATE VIEW settings AS FROM c.pg_catalog.pg_settings; {name.format('settings')}",
        ):
            cursor.execute(sql)
            assert cursor.fetchall() == [("on",)]
