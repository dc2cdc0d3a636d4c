"""How a setting is declared: its section, accepted values, and environment variable."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

MASK = "***"


@dataclass(frozen=True, slots=True)
class Accepts:
    """The values that a setting accepts, as a phrase after "accepted: "; ``secret``: never shown.

    ``value_needed``: a key without a value is a mistake; otherwise it means the default.
    """

    text: str
    secret: bool = False
    value_needed: bool = False


@dataclass(frozen=True, slots=True)
class Env:
    """The environment variable of a setting.

    ``bare_unit`` is the unit of a number without one. ``only``: the key is not allowed in YAML.
    """

    name: str
    bare_unit: str = ""
    only: bool = False


class Refused(ValueError):
    """A value that is not accepted: ``why`` follows the key and the value in a sentence.

    ``key`` (dotted) names the setting if it is inside the validated one.
    """

    def __init__(self, why: str = "is not accepted", *, key: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.key = key


class Section(BaseModel):
    """A group of settings: frozen, no unknown keys, and no input in pydantic's own errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
