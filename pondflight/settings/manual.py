"""Writes ``docs/configuration.md`` from the settings: ``python -m pondflight.settings.manual``.

A test compares the page with this output.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import yaml

from pondflight.settings.schema import ROOT, Key, Shape

_HEAD = """\
# Configuration

All settings; `make reference` generates this page from the code. Environment variables override the
file; the file overrides the defaults. `${NAME}` in a value of the file stands for that variable.
`pondflight check --config FILE` finds every mistake and prints the settings in effect;
`config.example.yaml` has all keys, ready to edit.

    pondflight serve --config config.yaml
"""


def page() -> str:
    """Return the text of ``docs/configuration.md``."""
    return _HEAD + "".join(_section(ROOT))


def _section(section: Key) -> Iterator[str]:
    values = [key for key in section.children.values() if key.shape is not Shape.SECTION]
    if values:
        if section.name:
            yield f"\n## {section.name.removesuffix('[]')}\n\n{section.description}\n"
        yield "\n| key | environment | default | |\n|---|---|---|---|\n"
        for key in values:
            yield _row(key)
    for key in section.children.values():
        if key.shape in {Shape.SECTION, Shape.SECTIONS}:
            yield from _section(key)


def _row(key: Key) -> str:
    env = "" if key.env is None else f"`{key.env.name}`"
    if key.env is not None and key.env.bare_unit:
        env += f" ({key.env.bare_unit} without a unit)"
    name = key.name.rpartition(".")[2]
    shown = f"`{name}`" if key.env is None or not key.env.only else "(never in a file)"
    text = f"{key.description} Accepted: {key.accepts_in_all}."
    return "| " + " | ".join(_cell(cell) for cell in (shown, env, _default(key), text)) + " |\n"


def _default(key: Key) -> str:
    if key.default is None:
        return ""
    text = yaml.safe_dump(key.default, default_flow_style=True, width=1000).removesuffix("...\n")
    return f"`{text.strip()}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
