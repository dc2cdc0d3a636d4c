"""Writes ``config.example.yaml`` from the settings: ``python -m pondflight.settings.reference``.

A test compares the file with this output, so the example cannot fall behind the code.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

import yaml

from pondflight.settings.schema import ROOT, Key, Shape

_WIDTH = 92

_HEAD = """\
# Configuration of pondflight: every key, with its default.
#
#   pondflight serve --config config.yaml
#   pondflight check --config config.yaml
#
# An environment variable that a key names goes before the file. ${NAME} in a value is replaced
# from the environment ($${ stands for ${ itself). Every key may be left out.
#
# The secret that signs tokens never stands here: set JWT_SECRET (at least 32 random characters,
# such as `openssl rand -base64 32` prints), or JWT_SECRET_FILE to the name of a file with it.
"""

_DATABASES = """\
  #
  # attached_databases:
  #   - alias: shop
  #     type: postgres
  #     connection_string: postgresql://reader:${SHOP_PASSWORD}@db.example.com:5432/shop?sslmode=require
  #     read_only: true
  #   - alias: sales
  #     type: sqlite
  #     connection_string: /data/sales.db
"""


def example() -> str:
    """Return the text of ``config.example.yaml``."""
    return _HEAD + "".join(_section(ROOT, ""))


def _section(section: Key, indent: str) -> Iterator[str]:
    for name, key in ((key.name.rpartition(".")[2], key) for key in section.children.values()):
        if key.env is not None and key.env.only:
            continue
        if not indent:
            yield "\n"
        yield from _comment(key, indent)
        if key.shape is Shape.SECTION:
            yield f"{indent}{name}:\n"
            yield from _section(key, indent + "  ")
        else:
            yield f"{indent}{name}: {_plain(key.default)}\n"


def _comment(key: Key, indent: str) -> Iterator[str]:
    yield from _wrapped(key.description, indent)
    if key.shape is Shape.SECTION:
        return
    yield from _wrapped(f"Accepted: {key.accepts_in_all}.", indent)
    if key.env is not None:
        bare = key.env.bare_unit
        unit = f" (a number without a unit counts {bare} there)" if bare else ""
        yield from _wrapped(f"Environment: {key.env.name}{unit}.", indent)
    if key.shape is Shape.SECTIONS:
        for child in key.children.values():
            name = child.name.rpartition(".")[2]
            text = f"{name}: {child.description} Accepted: {child.accepts}."
            yield from _wrapped(text, indent, hang="  ")
        yield _DATABASES


def _wrapped(text: str, indent: str, hang: str = "") -> Iterator[str]:
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        yield f"{indent}# {hang if number else ''}{line}\n"


def _plain(value: object) -> str:
    """Format a default value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


if __name__ == "__main__":
    sys.stdout.write(example())
