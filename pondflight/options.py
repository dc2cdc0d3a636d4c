"""Types of command-line values, and the options that several commands share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from pondflight.control import Walls
from pondflight.units import DURATION, SIZE, parse_duration, parse_size

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

CONFIG = click.option(
    "--config",
    "config",
    type=FILE,
    metavar="FILE",
    help="YAML file with the settings; config.example.yaml has every key. Default: /config.yaml "
    "or /etc/pondflight/config.yaml, if it exists.",
)

LOG_LEVEL = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warn", "error"]),
    default="info",
    show_default=True,
    help="Minimum log level. Logs go to stderr.",
)


class DurationType(click.ParamType[timedelta]):
    """A duration, such as 5m."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the value, or fail with what is accepted."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}; accepted: {DURATION}", param, ctx)


class SizeType(click.ParamType[int]):
    """A size in bytes, written such as 512m."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the value, or fail with what is accepted."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}; accepted: {SIZE}", param, ctx)


class DigestType(click.ParamType[str]):
    """A SHA-256 in hexadecimal; lower case in Python."""

    name = "hex"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the value, or fail with what is accepted."""
        digest = str(value).lower()
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):  # noqa: PLR2004
            self.fail("not a SHA-256 in 64 hexadecimal digits", param, ctx)
        return digest


class WallsType(click.ParamType[Walls]):
    """What a worker may reach, as JSON."""

    name = "walls"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Walls:
        """Return the value, or fail with what is accepted."""
        if isinstance(value, Walls):
            return value
        try:
            return Walls.of(str(value))
        except (ValueError, TypeError, AttributeError):
            self.fail("no JSON as a backend writes it", param, ctx)
