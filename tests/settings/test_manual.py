from __future__ import annotations

from pathlib import Path

from pondflight.settings.manual import page
from pondflight.settings.schema import ROOT

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make reference"


def test_it_has_every_setting() -> None:
    text = page()
    for key in ROOT.leaves():
        assert key.description in text
        if key.env is not None:
            assert f"`{key.env.name}`" in text
        if key.env is None or not key.env.only:
            assert f"| `{key.name.rpartition('.')[2]}` |" in text
