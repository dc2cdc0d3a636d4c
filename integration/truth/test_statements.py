"""A sample of the generated statements; ``make truth`` runs thousands, and others each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.servers import MariaDB, Postgres
from integration.truth import differences, tables
from integration.truth.asking import Local, Pond, asked
from integration.truth.grammar import generate
from integration.truth.kinds import KINDS
from integration.truth.statements import run
from integration.truth.systems import MariaDBSystem, PostgresSystem, SqliteSystem, System

_SEED = 12
_STATEMENTS = 250
_DOCUMENT = Path(__file__).parents[2] / "docs" / "databases.md"

Asked = tuple[list[System], Pond, Local]


@pytest.fixture(scope="module", name="odd")
def fixture_odd(
    postgres: Postgres, mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    folder: Path = tmp_path_factory.mktemp("statements")
    systems: list[System] = [
        PostgresSystem(postgres, "odd_postgres"),
        MariaDBSystem(mariadb, "odd_mariadb"),
        SqliteSystem(folder / "lite.db", "odd_sqlite"),
    ]
    for system in systems:
        tables.load(system)
    with asked(systems, folder / "deployment") as (pond, local):
        yield systems, pond, local
    for system in systems:
        system.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(len(KINDS)), ids=list(KINDS))
def test_generated_statements_have_the_rows_that_they_have_elsewhere(
    odd: Asked, number: int
) -> None:
    systems, pond, local = odd
    found: list[str] = []
    tally = run(
        systems[number],
        systems,
        pond,
        local,
        _SEED,
        range(_STATEMENTS),
        report=found.append,
        limit=5,
    )
    print(tally)
    assert not found, "\n".join(found)
    assert tally.statements == _STATEMENTS
    assert tally.client > _STATEMENTS / 5
    assert len(tally.errors) < _STATEMENTS / 20
    assert len(tally.refused) < _STATEMENTS / 20


def test_a_statement_can_be_made_again_from_its_number() -> None:
    prefixes = {"postgres": "shop.public.", "sqlite": "lite."}
    made = [generate("postgres", prefixes, 3, number).duckdb() for number in range(50)]
    assert made == [generate("postgres", prefixes, 3, number).duckdb() for number in range(50)]
    assert len({sql for sql, _ in made}) == 50


def test_what_may_differ_is_documented() -> None:
    text = " ".join(_DOCUMENT.read_text("utf-8").split())
    for reason in (*(known.reason for known in differences.KNOWN), *differences.FORMS.values()):
        assert reason in text
