"""A part of ``tests.fuzz.uploads`` that does not take long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.uploads import run


@pytest.mark.parametrize("seed", [1])
def test_changed_bytes_are_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    outcomes = run(tmp_path, 400, seed)
    assert outcomes.total() == 400 + 400 // 5 + 50
    assert outcomes["taken"] > 20  # else it is not the data that is looked at
