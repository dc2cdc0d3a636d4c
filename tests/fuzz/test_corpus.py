"""The corpus, replayed: inputs that were found by fuzzing, and one of each message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, TARGETS, replay

INPUTS = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("path", INPUTS, ids=[f"{p.parent.name}/{p.name}" for p in INPUTS])
def test_an_input_is_decoded_or_refused(path: Path) -> None:
    replay(path.parent.name, path.read_bytes())


def test_every_target_has_a_corpus() -> None:
    assert {path.parent.name for path in INPUTS} == set(TARGETS)


@given(st.sampled_from(sorted(TARGETS)), st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(target: str, data: bytes) -> None:
    replay(target, data)


@given(st.sampled_from(INPUTS), st.data())
def test_an_input_with_a_part_of_it_changed(path: Path, data: st.DataObject) -> None:
    """Close to what is valid, where the interesting mistakes are."""
    original = path.read_bytes()
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 8)))
    changed = original[:start] + data.draw(st.binary(max_size=8)) + original[end:]
    replay(path.parent.name, changed)
