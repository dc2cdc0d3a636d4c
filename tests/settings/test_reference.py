from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pondflight.settings import load
from pondflight.settings.reference import example
from pondflight.settings.schema import ROOT, Key

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def test_example_file_is_what_the_settings_say() -> None:
    assert EXAMPLE.read_text("utf-8") == example(), "run `make reference`"


def test_example_has_every_key_with_its_default() -> None:
    data: Any = yaml.safe_load(example())
    for key in ROOT.leaves():
        *sections, last = key.name.split(".")
        section = data
        for step in sections:
            section = section[step]
        if key.env is not None and key.env.only:
            assert last not in section
        else:
            assert section[last] == key.default


def test_example_loads_to_the_defaults() -> None:
    assert load(EXAMPLE, {}) == load(None, {})


def test_example_with_its_commented_databases_loads(tmp_path: Path) -> None:
    lines = example().splitlines()
    start = lines.index("  # attached_databases:")
    end = lines.index("  attached_databases: []")
    lines[start : end + 1] = [line.replace("  # ", "  ", 1) for line in lines[start:end]]
    config = tmp_path / "config.yaml"
    config.write_text("\n".join(lines), "utf-8")
    databases = load(config, {"SHOP_PASSWORD": "x"}).duckdb.attached_databases
    assert [database.alias for database in databases] == ["shop", "sales"]


def test_every_key_is_described() -> None:
    def all_keys(key: Key) -> list[Key]:
        return [inner for child in key.children.values() for inner in (child, *all_keys(child))]

    for key in all_keys(ROOT):
        assert key.description.endswith("."), key.name
        assert key.accepts, key.name
