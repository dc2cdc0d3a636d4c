"""Servers that are away, at the start of a worker and in the middle of a session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from adbc_driver_manager import Error

from integration.conftest import Deploy
from integration.databases.support import eventually, failure, rows, succeeds
from integration.deployment import Deployment
from integration.servers import MariaDB, Postgres, Server

MORE_TIMES_THAN_SPARES = 6


@dataclass(frozen=True)
class Side:
    """One of the servers: a quick and a slow query for it, and a query for the other one."""

    server: Server
    alias: str
    query: str
    other_query: str
    slow_query: str


@pytest.fixture(name="side", params=["shop", "crm"])
def fixture_side(
    request: pytest.FixtureRequest, postgres: Postgres, mariadb: MariaDB
) -> Iterator[Side]:
    orders = "SELECT count(*) FROM shop.public.orders"
    customers = "SELECT count(*) FROM crm.customer"
    if request.param == "shop":
        slow = "SELECT max(nap) FROM shop.public.slow"
        side = Side(postgres, "shop", orders, customers, slow)
    else:
        side = Side(mariadb, "crm", customers, orders, "SELECT max(nap) FROM crm.slow")
    yield side
    side.server.resume()
    if not side.server.running:
        side.server.start()


def _assert_only_the_alias(told: str, side: Side) -> None:
    assert f"database '{side.alias}' cannot be reached at the moment" in told or (
        f"the connection to database '{side.alias}' was lost" in told
    ), told
    for hidden in (side.server.mark, side.server.user, str(side.server.port), "127.0.0.1", "host"):
        assert hidden not in told


def test_a_worker_starts_without_a_server_and_has_it_when_it_comes(
    three: Deployment, side: Side
) -> None:
    side.server.stop()
    with three.connect(f"early-{side.alias}", autocommit=True) as connection:
        begin = time.monotonic()
        assert rows(connection, "SELECT 42") == [(42,)]
        assert time.monotonic() - begin < 10
        rows(connection, "CREATE TEMP TABLE mine AS SELECT 7 AS n")
        _assert_only_the_alias(failure(connection, side.query), side)
        assert rows(connection, side.other_query)[0][0] > 0
        assert rows(connection, "SELECT count(*) FROM warehouse.part") == [(400,)]
        side.server.start()
        eventually(lambda: succeeds(connection, side.query))
        assert rows(connection, "FROM mine") == [(7,)]


def test_a_server_goes_and_comes_again_and_again_in_one_session(
    three: Deployment, side: Side
) -> None:
    with three.connect(f"again-{side.alias}", autocommit=True) as connection:
        expected = rows(connection, side.query)
        rows(connection, "CREATE TEMP TABLE mine AS SELECT 7 AS n")
        for number in range(MORE_TIMES_THAN_SPARES):
            if number % 2:
                side.server.kill()
            else:
                side.server.stop()
            _assert_only_the_alias(failure(connection, side.query), side)
            assert rows(connection, side.other_query)[0][0] > 0
            side.server.start()
            eventually(lambda: succeeds(connection, side.query))
            assert rows(connection, side.query) == expected
        assert rows(connection, "FROM mine") == [(7,)]


def test_the_tables_of_a_server_that_is_away_are_not_said_to_be_none(
    three: Deployment, side: Side
) -> None:
    table = side.query.rpartition(".")[2]
    with three.connect(f"tables-{side.alias}", autocommit=True) as connection:

        def columns() -> list[str]:
            names: list[str] = connection.adbc_get_table_schema(
                table, catalog_filter=side.alias
            ).names
            return names

        expected = columns()
        side.server.stop()
        failure(connection, side.query)
        with pytest.raises(Error) as caught:
            columns()
        _assert_only_the_alias(str(caught.value), side)
        side.server.start()
        eventually(lambda: succeeds(connection, side.query))
        assert columns() == expected


def test_a_server_that_hangs_holds_up_nobody(three: Deployment, side: Side) -> None:
    side.server.pause()
    with three.connect(f"hang-{side.alias}", autocommit=True) as connection:
        begin = time.monotonic()
        assert rows(connection, side.other_query)[0][0] > 0
        assert time.monotonic() - begin < 10
        _assert_only_the_alias(failure(connection, side.query), side)
        assert time.monotonic() - begin < 20
        side.server.resume()
        eventually(lambda: succeeds(connection, side.query))


def test_a_statement_in_the_middle_of_it_fails_at_once(three: Deployment, side: Side) -> None:
    with (
        three.connect(f"middle-{side.alias}", autocommit=True) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        rows(connection, side.query)
        running = pool.submit(failure, connection, side.slow_query)
        time.sleep(2)
        assert not running.done(), running.result()
        side.server.kill()
        _assert_only_the_alias(running.result(10), side)
        side.server.start()
        eventually(lambda: succeeds(connection, side.query))


def test_lists_leave_out_a_database_that_is_away(three: Deployment, side: Side) -> None:
    with three.connect(f"lists-{side.alias}", autocommit=True) as connection:
        rows(connection, side.query)

        def catalogs() -> set[str]:
            objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
            return {one["catalog_name"] for one in objects if one["catalog_db_schemas"]}

        def shown() -> set[Any]:
            return {row[0] for row in rows(connection, "SHOW ALL TABLES")}

        assert {"shop", "crm", "warehouse"} <= catalogs()
        assert {"shop", "crm", "warehouse"} <= shown()
        side.server.stop()
        assert catalogs() >= {"shop", "crm", "warehouse"} - {side.alias}
        eventually(lambda: succeeds(connection, "SHOW ALL TABLES"))
        assert side.alias not in shown()
        side.server.start()
        eventually(lambda: side.alias in catalogs())


def test_require_all_starts_no_worker_without_one(
    deploy: Deploy, entries: list[dict[str, Any]], side: Side
) -> None:
    deployment = deploy({"duckdb": {"attached_databases": entries, "require_all": True}})
    side.server.stop()
    with deployment.connect(autocommit=True) as connection:
        told = failure(connection, "SELECT 42")
    for hidden in (side.server.mark, side.server.user, str(side.server.port)):
        assert hidden not in told
        assert hidden not in deployment.log()
    assert f"'{side.alias}'" in deployment.log()
    side.server.start()

    def works() -> bool:
        with deployment.connect(autocommit=True) as connection:
            return succeeds(connection, side.query)

    eventually(works)


def test_sql_of_the_administrator_that_needs_a_server_waits_for_it(
    deploy: Deploy, entries: list[dict[str, Any]], side: Side
) -> None:
    init = f"SELECT 1; CREATE VIEW theirs AS {side.query}"
    deployment = deploy({"duckdb": {"attached_databases": entries, "init_sql": init}})
    side.server.stop()
    with deployment.connect(autocommit=True) as connection:
        failure(connection, "SELECT 42")
        assert f"statement 2 failed: database '{side.alias}' cannot be reached" in deployment.log()
        side.server.start()
        eventually(lambda: succeeds(connection, "FROM theirs"))


def test_a_login_that_is_allowed_later_needs_no_new_session(
    three: Deployment, postgres: Postgres
) -> None:
    postgres.run(f"ALTER ROLE {postgres.user} NOLOGIN")
    try:
        with three.connect("later", autocommit=True) as connection:
            told = failure(connection, "FROM shop.public.orders")
            assert "database 'shop' cannot be attached" in told
            assert postgres.user not in told
            postgres.run(f"ALTER ROLE {postgres.user} LOGIN")
            eventually(lambda: succeeds(connection, "FROM shop.public.orders"))
    finally:
        postgres.run(f"ALTER ROLE {postgres.user} LOGIN")
