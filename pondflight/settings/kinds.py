"""The kinds of value that a setting can have: how each is read, written and described.

A kind is an annotated type. Its reader takes whatever YAML or the environment hold (the
environment only has strings, and so has YAML once ``${NAME}`` is replaced) and either returns the
Python value or raises ``Refused``. ``Accepts`` says in one phrase what it takes: errors and the
reference quote it.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, SecretStr

from pondflight.settings.secret import MINIMUM_LENGTH, weakness
from pondflight.units import (
    DURATION,
    SIZE,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

MASK = "***"

SMALLEST_MEMORY = 16 << 20
"""Least memory of a worker. Whoever writes ``memory_limit: 512`` means megabytes."""


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


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Refused
    return value.strip()


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,18}\s*", value):
        return int(value)
    raise Refused


def _within(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = _whole(value)
        if not lowest <= number <= highest:
            raise Refused
        return number

    return read


def _matching(pattern: str, *, longest: int = 255) -> Callable[[object], str]:
    compiled = re.compile(pattern)

    def read(value: object) -> str:
        text = _text(value)
        if len(text) > longest or compiled.fullmatch(text) is None:
            raise Refused
        return text

    return read


def _cores(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refused
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Refused from None
    if not math.isfinite(number) or not 0 < number <= 1024:  # noqa: PLR2004 - said in Accepts
        raise Refused
    return number


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    try:
        return parse_duration(_text(value))
    except Refused:
        raise
    except ValueError as error:
        raise Refused(str(error)) from None


def _positive_duration(value: object) -> timedelta:
    duration = _duration(value)
    if duration <= timedelta():
        raise Refused
    return duration


def _memory(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    try:
        size = parse_size(_text(value))
    except Refused:
        raise
    except ValueError as error:
        raise Refused(str(error)) from None
    if size < SMALLEST_MEMORY:
        unit_forgotten = f"is only {size} bytes"
        raise Refused(unit_forgotten)
    return size


def _host(value: object) -> str:
    text = _text(value)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    label = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    # Digits and dots alone are no name: they are an IPv4 address with a mistake in it.
    if len(text) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*", text):  # noqa: PLR2004
        raise Refused
    if re.fullmatch(r"[0-9.]+", text):
        raise Refused
    return text


def _url(value: object) -> str | None:
    if value is None:
        return None
    text = _text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise Refused from None
    if not usable or parts.username or parts.query or parts.fragment or not text.isprintable():
        raise Refused
    return text.rstrip("/")


def _file(value: object) -> Path | None:
    if value is None:
        return None
    text = str(value) if isinstance(value, Path) else _text(value)
    if not text or "\0" in text:
        raise Refused
    return Path(text)


BACKENDS = ("auto", "process", "docker", "kubernetes")


def _backend(value: object) -> str:
    text = _text(value)
    if text not in BACKENDS:
        raise Refused
    return text


def _one_of(*names: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _text(value).lower()
        if text not in names:
            raise Refused
        return text

    return read


def _confinement(value: object) -> str:
    if value is False:  # as YAML reads ``off``
        return "off"
    return _one_of("required", "best_effort", "off")(value)


def _readable(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise Refused
    return value


def _folder(value: object) -> str | None:
    if value is None:
        return None
    text = _text(value)
    if not text.startswith("/") or any(ord(character) < ord(" ") for character in text):
        raise Refused
    return text


def _docker_host(value: object) -> str:
    text = _text(value)
    if re.fullmatch(r"unix:///[^\s\x00]+", text):
        return text
    found = re.fullmatch(
        r"tcp://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):([0-9]{1,5})/?", text
    )
    if found is None or not 0 < int(found[2]) <= 65535:  # noqa: PLR2004 - a port
        raise Refused
    return text.rstrip("/")


def _network(value: object) -> str:
    text = _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*")(value)
    if text in {"host", "none"}:
        shared = (
            "would let workers at the host's own network" if text == "host" else "has no way in"
        )
        raise Refused(shared)
    return text


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise Refused


def _secret(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    text = _text(value)
    if not text:
        empty = "is empty"
        raise Refused(empty)
    _refuse_unseen(text)
    return SecretStr(text)


def _refuse_unseen(secret: str) -> None:
    """Refuse characters that no secret has, and that no editor shows: files bring them along."""
    if "\ufeff" in secret:
        raise Refused("has a byte order mark in it: save it as UTF-8 without one")
    if "\n" in secret or "\r" in secret:
        raise Refused("has a line break in it (written by Windows, or copied with its line?)")
    if not secret.isprintable():
        raise Refused("has a control character in it")


def _statements(value: object) -> SecretStr | None:
    if value is None or isinstance(value, SecretStr):
        return value
    return SecretStr(text) if (text := _text(value)) else _secret(text)


def _optional_secret(value: object) -> SecretStr | None:
    return None if value is None else _secret(value)


def _jwt_secret(value: object) -> SecretStr | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    # Not stripped: each character counts, also for whoever else signs tokens with it.
    if not isinstance(value, str):
        raise Refused
    if value.strip():
        _refuse_unseen(value)
    why = weakness(value)
    if why is not None:
        raise Refused(why)
    return SecretStr(value)


def _masked(value: SecretStr | None) -> str | None:
    return None if value is None else MASK


_shown_duration = PlainSerializer(format_duration, return_type=str, when_used="json")
_shown_size = PlainSerializer(format_size, return_type=str, when_used="json")
_shown_secret = PlainSerializer(_masked, when_used="json")

Port = Annotated[
    int,
    BeforeValidator(_within(0, 65535)),
    Accepts("a TCP port from 1 to 65535, or 0 for any that is free"),
]
Count = Annotated[
    int, BeforeValidator(_within(1, 1_000_000)), Accepts("a whole number from 1 to 1000000")
]
CountOrNone = Annotated[
    int,
    BeforeValidator(_within(0, 1_000_000)),
    Accepts("a whole number from 0 to 1000000"),
]
Processes = Annotated[
    int, BeforeValidator(_within(64, 1_000_000)), Accepts("a whole number from 64 to 1000000")
]
Cores = Annotated[
    float, BeforeValidator(_cores), Accepts("a number of cores above 0 and up to 1024, such as 0.5")
]
Duration = Annotated[
    timedelta, BeforeValidator(_positive_duration), _shown_duration, Accepts(f"{DURATION}, above 0")
]
Patience = Annotated[
    timedelta, BeforeValidator(_duration), _shown_duration, Accepts(f"{DURATION}; 0 for none")
]
Memory = Annotated[
    int,
    BeforeValidator(_memory),
    _shown_size,
    Accepts(f"{SIZE}, from {format_size(SMALLEST_MEMORY)}"),
]
Host = Annotated[str, BeforeValidator(_host), Accepts("an IP address or a host name to listen on")]
File = Annotated[Path | None, BeforeValidator(_file), Accepts("the name of a file")]
Image = Annotated[
    str,
    BeforeValidator(_matching(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")),
    Accepts("a container image, such as name:tag"),
]
Network = Annotated[
    str,
    BeforeValidator(_network),
    Accepts("a network name of letters, digits, '_', '.' and '-'"),
]
Instance = Annotated[
    str,
    BeforeValidator(_matching(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]*)?", longest=63)),
    Accepts("a name of up to 63 letters, digits, '_', '.' and '-', or none"),
]
DockerHost = Annotated[
    str,
    BeforeValidator(_docker_host),
    Accepts("unix:///path/to/a/socket or tcp://host:port"),
]
ENGINES = ("pondflight", "gizmosql", "sqlflite")
Engine = Annotated[str, BeforeValidator(_one_of(*ENGINES)), Accepts(", ".join(ENGINES))]
Model = Annotated[
    str,
    BeforeValidator(_matching(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]*")),
    Accepts("the name of a model, of letters, digits and '_', '.', ':', '/', '@', '-'"),
]
Backend = Annotated[str, BeforeValidator(_backend), Accepts(", ".join(BACKENDS))]
StatementText = Annotated[
    str, BeforeValidator(_matching("masked|full|none")), Accepts("masked, full, none")
]
Flag = Annotated[bool, BeforeValidator(_flag), Accepts("true or false")]
ApiKey = Annotated[
    SecretStr | None,
    BeforeValidator(_optional_secret),
    _shown_secret,
    Accepts("an API key", secret=True),
]
Storage = Annotated[
    str, BeforeValidator(_one_of("memory", "persistent")), Accepts("memory, persistent")
]
Scratch = Annotated[str, BeforeValidator(_one_of("memory", "disk")), Accepts("memory, disk")]
Folder = Annotated[
    str | None, BeforeValidator(_folder), Accepts("the absolute path of a directory")
]
PullPolicy = Annotated[
    Literal["IfNotPresent", "Always", "Never"],
    Accepts("IfNotPresent, Always, Never"),
]
VolumeAccess = Annotated[
    Literal["ReadWriteOncePod", "ReadWriteOnce"],
    Accepts("ReadWriteOncePod, ReadWriteOnce"),
]
ShareOfCores = Annotated[
    float | None,
    BeforeValidator(lambda value: None if value is None else _cores(value)),
    Accepts("a number of cores, such as 0.1; none: as much as the limit"),
]
ShareOfMemory = Annotated[
    int | None,
    BeforeValidator(lambda value: None if value is None else _memory(value)),
    PlainSerializer(lambda value: None if value is None else format_size(value), when_used="json"),
    Accepts(f"{SIZE}; none: as much as the limit"),
]
Confinement = Annotated[
    Literal["required", "best_effort", "off"],
    BeforeValidator(_confinement),
    Accepts("required, best_effort, off"),
]
Readable = Annotated[
    str, BeforeValidator(_readable), Accepts("the absolute path of a file or directory")
]
Sql = Annotated[
    SecretStr | None,
    BeforeValidator(_statements),
    _shown_secret,
    Accepts("SQL statements, with ';' between them", secret=True),
]
BaseUrl = Annotated[
    str | None,
    BeforeValidator(_url),
    Accepts("the URL of a server, such as http://localhost:11434/v1, or null"),
]
ConnectionString = Annotated[SecretStr, BeforeValidator(_secret), _shown_secret]
JwtSecret = Annotated[
    SecretStr | None,
    BeforeValidator(_jwt_secret),
    _shown_secret,
    Accepts(
        f"at least {MINIMUM_LENGTH} random characters, such as `openssl rand -base64 32` prints",
        secret=True,
    ),
]
