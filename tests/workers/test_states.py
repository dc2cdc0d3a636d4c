from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from pondflight.workers.states import TRANSITIONS, IllegalTransition, Reason, State, step

DOCS = Path(__file__).parents[2] / "docs" / "workers.md"


@pytest.mark.parametrize(("current", "to"), list(itertools.product(State, State)))
def test_only_the_steps_of_the_table_are_taken(current: State, to: State) -> None:
    if to in TRANSITIONS[current]:
        assert step(current, to) is to
    else:
        with pytest.raises(IllegalTransition):
            step(current, to)


def test_every_life_ends() -> None:
    for state in State:
        assert state is State.GONE or State.GONE in TRANSITIONS[state]
    assert not TRANSITIONS[State.GONE]


def rows(heading: str) -> dict[str, str]:
    section = DOCS.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))


def test_documentation_has_every_state_and_its_steps() -> None:
    documented = rows("States")
    assert documented == {state.value: state.description for state in State}
    section = DOCS.read_text().split("## States\n")[1].split("\n## ")[0]
    steps = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", section, re.MULTILINE))
    for state in State:
        assert set(re.findall(r"`(\w+)`", steps[state.value])) == set(TRANSITIONS[state])


def test_documentation_has_every_reason() -> None:
    assert rows("Reasons") == {reason.value: reason.description for reason in Reason}
