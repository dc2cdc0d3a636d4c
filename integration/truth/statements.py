"""Runs generated statements one after the other, and counts the outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from integration.truth.asking import Difference, Local, Pond, against_client, against_local
from integration.truth.differences import tolerated
from integration.truth.grammar import Statement, generate
from integration.truth.systems import Refused, System
from integration.truth.tables import load_local, own


@dataclass
class Tally:
    """The outcomes of the statements over one system."""

    system: str
    statements: int = 0
    client: int = 0
    refused: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0
    tolerated: dict[str, int] = field(default_factory=dict)
    differences: list[tuple[Statement, Difference]] = field(default_factory=list)
    last: str = ""

    def __str__(self) -> str:
        known = "".join(f"\n  {count} known: {why}" for why, count in self.tolerated.items())
        return (
            f"{self.system}: {self.statements} statements, {self.rows} rows,"
            f" {self.client} beside its own client ({len(self.refused)} refused there),"
            f" {len(self.errors)} errors on both sides, {len(self.differences)} differences;"
            f" {self.seconds:.0f} s{known}"
        )


def run(
    system: System,
    systems: Sequence[System],
    pond: Pond,
    local: Local,
    seed: int,
    numbers: Iterable[int],
    report: Callable[[str], None],
    limit: int,
) -> Tally:
    """Compare statements; ``report`` is called with each difference as it is found."""
    _copy(systems, pond, local)
    prefixes = {other.name: other.prefix for other in systems}
    tally = Tally(system.name)
    begin = time.monotonic()
    for number in numbers:
        statement = generate(system.name, prefixes, seed, number)
        for difference in _compare(statement, system, pond, local, tally):
            name = tolerated(system.name, difference)
            if name:
                tally.tolerated[name] = tally.tolerated.get(name, 0) + 1
                continue
            tally.differences.append((statement, difference))
            report(f"\n{system.name} --seed {seed} --only {number}\n{difference}")
        tally.statements += 1
        if len(tally.differences) >= limit:
            break
    tally.seconds = time.monotonic() - begin
    return tally


def _copy(systems: Sequence[System], pond: Pond, local: Local) -> None:
    """Make the local copies, and the user's own tables on both sides, if they do not exist."""
    if local.ask("FROM mine_sqlite").error:
        for system in systems:
            load_local(local.connection, system)
            for sql in own(system):
                local.connection.execute(sql)
                result = pond.flight(sql)
                assert not result.error, result.error


def _compare(
    statement: Statement, system: System, pond: Pond, local: Local, tally: Tally
) -> list[Difference]:
    sql, values = statement.duckdb()
    before, after = statement.prepared(), statement.undone()
    for one in before:
        local.connection.execute(one)
        if error := pond.run(one):
            return [Difference(one, "Flight SQL and HTTP", "DuckDB", error, "the view is created")]
    right = local.ask(sql, values)
    ours = pond.flight(sql, values)
    told = "; ".join([*before, sql]) + (f" -- {values}" if values else "")
    found = [against_local(ours, right, told, "Flight SQL", ordered=statement.ordered)]
    if not values and not right.error:
        over_http = pond.http(sql, right.types)
        found.append(against_local(over_http, right, told, "HTTP", ordered=statement.ordered))
    if not ours.error and not right.error and statement.known(system):
        try:
            theirs = statement.of(system)
            found.append(against_client(ours, system, theirs, told, ordered=statement.ordered))
            tally.client += 1
        except Refused as error:
            tally.refused.append(f"{error}: {theirs}")
    for one in after:
        assert not pond.run(one)
        local.connection.execute(one)
    if right.error:
        tally.errors.append(right.error)
    tally.rows += len(right.rows)
    tally.last = f"{told}\n{right}\n{tally.refused[-1:]}"
    return [difference for difference in found if difference is not None]
