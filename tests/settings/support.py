"""What the tests of the settings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pondflight.settings import Settings

SECRET = "kW8rX2vN5qT9zL4mB7cJ1hG6fD3sA0pY"

DATABASE = """
duckdb:
  attached_databases:
    - alias: shop
      type: {type}
      connection_string: "{connection_string}"
"""

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


def value_at(settings: Settings, name: str) -> Any:
    """Give the value of a key by its dotted name."""
    value: Any = settings
    for step in name.split("."):
        value = getattr(value, step)
    return value
