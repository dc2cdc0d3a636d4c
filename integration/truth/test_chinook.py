"""Everyday queries over Chinook: pondflight's results beside everybody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.servers import MariaDB, Postgres
from integration.truth import chinook
from integration.truth.asking import Local, Pond, against_client, against_local, asked
from integration.truth.systems import MariaDBSystem, PostgresSystem, SqliteSystem, System

ALIASES = ("shop", "shop_of_icu", "crm", "crm_binary", "lite")
# Where text is sorted and compared as DuckDB does it, so that the database itself can be asked.
AGREEING = ("shop", "crm_binary", "lite")

Asked = tuple[dict[str, System], Pond, Local]


@pytest.fixture(scope="module", name="shops")
def fixture_shops(
    postgres: Postgres, mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    folder: Path = tmp_path_factory.mktemp("chinook")
    systems: list[System] = [
        PostgresSystem(postgres, "shop"),
        PostgresSystem(postgres, "shop_of_icu", "LOCALE_PROVIDER icu ICU_LOCALE 'en'"),
        MariaDBSystem(mariadb, "crm"),
        MariaDBSystem(mariadb, "crm_binary", "utf8mb4_nopad_bin"),
        SqliteSystem(folder / "lite.db", "lite"),
    ]
    for system in systems:
        chinook.load(system)
    with asked(systems, folder / "deployment") as (pond, local):
        for system in systems:
            chinook.load_local(local.connection, system)
        yield {system.alias: system for system in systems}, pond, local
    for system in systems:
        system.close()


def test_there_are_enough_queries() -> None:
    assert len(chinook.queries()) >= 50


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("query", chinook.queries(), ids=lambda query: query.name)
def test_an_everyday_query_has_the_rows_that_it_has_elsewhere(
    shops: Asked, alias: str, query: chinook.Query
) -> None:
    systems, pond, local = shops
    system = systems[alias]
    sql = query.of("duckdb", system.prefix)
    right = local.ask(sql)
    assert not right.error, right.error
    assert right.rows
    ours = pond.flight(sql)
    over_http = pond.http(sql, right.types)
    digits = 12 if system.name == "sqlite" else 17  # its amounts are floats, summed in any order
    for by, result in (("Flight SQL", ours), ("HTTP", over_http)):
        found = against_local(result, right, sql, by, ordered=query.ordered, digits=digits)
        assert found is None, str(found)
    if alias in AGREEING:
        theirs = query.of(system.name, "")
        difference = against_client(ours, system, theirs, sql, ordered=query.ordered)
        assert difference is None, str(difference)
