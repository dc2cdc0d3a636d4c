"""What a setting is declared with: its section, what it accepts, its environment variable."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

MASK = "***"


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a setting takes, as a phrase that follows "accepted: "; ``secret``: never shown.

    ``value_needed``: the key with nothing after it is a mistake, rather than the default.
    """

    text: str
    secret: bool = False
    value_needed: bool = False


@dataclass(frozen=True, slots=True)
class Env:
    """The environment variable of a setting.

    ``bare_unit`` is the unit of a bare whole number there. ``only``: YAML must not have the key.
    """

    name: str
    bare_unit: str = ""
    only: bool = False


class Refused(ValueError):
    """A value that is not accepted: ``why`` follows the key and the value in a sentence.

    ``key`` names the setting (dotted) where it is not the validated one itself but inside it.
    """

    def __init__(self, why: str = "is not accepted", *, key: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.key = key


class Section(BaseModel):
    """A group of settings: frozen, no unknown keys, and no input in pydantic's own errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
