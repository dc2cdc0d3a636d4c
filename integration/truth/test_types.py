"""Every type of each database: each value arrives unchanged, or as an error that says why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.servers import MariaDB, Postgres
from integration.truth.asking import Pond, asked
from integration.truth.differences import FORMS
from integration.truth.kinds import BEFORE, KINDS, POSTGRES_LEFT_OUT
from integration.truth.systems import MariaDBSystem, PostgresSystem, Refused, SqliteSystem, System
from integration.truth.values import from_text, same

_NAMED = r"\bv\b|array|interval|DECIMAL type scale"
_CASES = [(system, number) for system, kinds in KINDS.items() for number in range(len(kinds))]
_GENERATED_ID = 7
# Types that have another form in their own client, as in ``differences.FORMS``.
_ASKED = {
    ("postgres", "char(5)"): "rtrim(v)",
    ("postgres", "inet"): "v::text",
    ("mariadb", "tinyint(1)"): "v <> 0",
    ("sqlite", "blob"): "CASE typeof(v) WHEN 'blob' THEN quote(v) ELSE v END",
    ("mariadb", "time(6)"): "TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM v))",
}
assert set(_ASKED) == set(FORMS)

Asked = tuple[dict[str, System], Pond]


@pytest.fixture(scope="module", name="holders")
def fixture_holders(
    postgres: Postgres, mariadb: MariaDB, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    folder: Path = tmp_path_factory.mktemp("types")
    systems: list[System] = [
        PostgresSystem(postgres, "pg"),
        MariaDBSystem(mariadb, "maria"),
        SqliteSystem(folder / "sqlite.db", "sqlite"),
    ]
    for system in systems:
        system.script(*BEFORE[system.name])
        for number, kind in enumerate(KINDS[system.name]):
            system.script(*_created(f"kind_{number}", kind.declared, kind.values))
            for place, value in enumerate(kind.unreadable):
                system.script(*_created(f"odd_{number}_{place}", kind.declared, (value,)))
            with suppress(Refused):  # what cannot be NULL
                system.script(f"INSERT INTO kind_{number} (id) VALUES ({_GENERATED_ID})")
    with asked(systems, folder / "deployment") as (pond, _):
        yield {system.name: system for system in systems}, pond
    for system in systems:
        system.close()


def _created(name: str, declared: str, values: tuple[str, ...]) -> list[str]:
    rows = ", ".join(f"({place}, {value})" for place, value in enumerate(values, 100))
    made = [f"CREATE TABLE {name} (id integer, v {declared})"]
    return [*made, f"INSERT INTO {name} (id, v) VALUES {rows}"] if values else made


def _name(case: tuple[str, int]) -> str:
    return f"{case[0]}-{case[1]}-{KINDS[case[0]][case[1]].declared}"


@pytest.mark.parametrize(
    "case", [case for case in _CASES if KINDS[case[0]][case[1]].values], ids=_name
)
def test_the_values_of_a_type_arrive(holders: Asked, case: tuple[str, int]) -> None:
    systems, pond = holders
    system, kind = systems[case[0]], KINDS[case[0]][case[1]]
    sql = f"SELECT id, v FROM {{}}kind_{case[1]}"
    ours = pond.flight(sql.format(system.prefix))
    assert not ours.error, ours.error
    assert str(ours.types[1]) == kind.arrow
    theirs = system.ask(
        sql.format("").replace("v FROM", _ASKED.get((system.name, kind.declared), "v") + " FROM")
    )
    right = [(int(id_ or 0), from_text(text, ours.types[1])) for id_, text in theirs]
    assert same(ours.rows, right, ordered=False), f"\ncame  {ours.rows}\nright {right}"
    over_http = pond.http(sql.format(system.prefix), ours.types)
    assert not over_http.error
    assert same(over_http.rows, right, ordered=False), f"\ncame  {over_http.rows}\nright {right}"


@pytest.mark.parametrize(
    "case", [case for case in _CASES if KINDS[case[0]][case[1]].unreadable], ids=_name
)
def test_a_value_that_no_type_can_hold_is_never_another_one(
    holders: Asked, case: tuple[str, int]
) -> None:
    """NULL in MySQL, where ``on_invalid`` is that; elsewhere an error about the column or type."""
    systems, pond = holders
    system, kind = systems[case[0]], KINDS[case[0]][case[1]]
    for place, value in enumerate(kind.unreadable):
        ours = pond.flight(f"SELECT v FROM {system.prefix}odd_{case[1]}_{place}")
        if ours.error:
            assert re.search(r"\bv\b|array|interval|DECIMAL type scale", ours.error), (
                f"{value}: {ours.error}"
            )
            assert "Stack Trace" not in ours.error
        else:
            assert list(ours.rows) == [(None,)], value
            assert system.name == "mariadb", value


def test_no_type_of_postgresql_is_forgotten(holders: Asked) -> None:
    """The base types of its catalog: each is declared somewhere above, by one of its names."""
    systems, _ = holders
    known = systems["postgres"].ask(
        "SELECT DISTINCT t.typname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_type t ON t.oid = a.atttypid WHERE c.relname LIKE 'kind\\_%' AND a.attname = 'v'"
    )
    every = systems["postgres"].ask(
        "SELECT typname FROM pg_type WHERE typtype IN ('b', 'r', 'm') AND typelem = 0"
        " AND typnamespace = 'pg_catalog'::regnamespace AND typname NOT LIKE '\\_%'"
    )
    missing = {name for (name,) in every} - {name for (name,) in known} - set(POSTGRES_LEFT_OUT)
    assert not missing
