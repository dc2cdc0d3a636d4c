"""Read-only PostgreSQL databases: their transactions at the server are READ ONLY."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from integration.conftest import Deploy
from integration.databases.support import NO_LIMITS
from integration.deployment import Deployment
from integration.servers import Postgres

_BEGIN = re.compile(r"statement: (BEGIN\b.*)")
_READ_ONLY = re.compile(r"\bREAD ONLY\b")


@pytest.fixture(scope="module", name="counter")
def fixture_counter(postgres: Postgres) -> Iterator[str]:
    """A database with a view that writes a row whenever it is read, as its reader may."""
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
