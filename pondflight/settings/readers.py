"""Reads values of settings, whether from YAML or from the environment.

The environment has only strings, and so has YAML where ``${NAME}`` was replaced. A reader returns
the Python value or raises ``Refused``.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from pondflight.settings.declaration import Refused
from pondflight.settings.secret import weakness
from pondflight.units import parse_duration, parse_size

SMALLEST_MEMORY = 16 << 20
"""Least memory of a worker in bytes. Whoever writes ``memory_limit: 512`` means megabytes."""


def read_text(value: object) -> str:
    """Return the string without the white space around it."""
    if not isinstance(value, str):
        raise Refused
    return value.strip()


def read_whole(value: object) -> int:
    """Return a whole number, which may be written as a string of digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,18}\s*", value):
        return int(value)
    raise Refused


def within(lowest: int, highest: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from ``lowest`` to ``highest``, both included."""

    def read(value: object) -> int:
        number = read_whole(value)
        if not lowest <= number <= highest:
            raise Refused
        return number

    return read


def matching(pattern: str, *, longest: int = 255) -> Callable[[object], str]:
    """Return a reader of strings that match ``pattern`` and have at most ``longest`` characters."""
    compiled = re.compile(pattern)

    def read(value: object) -> str:
        text = read_text(value)
        if len(text) > longest or compiled.fullmatch(text) is None:
            raise Refused
        return text

    return read


def read_cores(value: object) -> float:
    """Return a number of cores, above 0 and up to 1024."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refused
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Refused from None
    if not math.isfinite(number) or not 0 < number <= 1024:  # noqa: PLR2004 - said in Accepts
        raise Refused
    return number


def read_duration(value: object) -> timedelta:
    """Return a duration; a bare number is read like a string of the same digits."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    try:
        return parse_duration(read_text(value))
    except Refused:
        raise
    except ValueError as error:
        raise Refused(str(error)) from None


def read_positive_duration(value: object) -> timedelta:
    """Return a duration above 0."""
    duration = read_duration(value)
    if duration <= timedelta():
        raise Refused
    return duration


def read_memory(value: object) -> int:
    """Return a size in bytes, at least ``SMALLEST_MEMORY``."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    try:
        size = parse_size(read_text(value))
    except Refused:
        raise
    except ValueError as error:
        raise Refused(str(error)) from None
    if size < SMALLEST_MEMORY:
        unit_forgotten = f"is only {size} bytes"
        raise Refused(unit_forgotten)
    return size


def read_host(value: object) -> str:
    """Return an IP address in its normal form, or a host name."""
    text = read_text(value)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    label = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    # Digits and dots alone are not a name, but an IPv4 address with a mistake.
    if len(text) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*", text):  # noqa: PLR2004
        raise Refused
    if re.fullmatch(r"[0-9.]+", text):
        raise Refused
    return text


def read_url(value: object) -> str | None:
    """Return an HTTP or HTTPS URL without a slash at its end; ``None`` if there is none."""
    if value is None:
        return None
    text = read_text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise Refused from None
    if not usable or parts.username or parts.query or parts.fragment or not text.isprintable():
        raise Refused
    return text.rstrip("/")


def read_file(value: object) -> Path | None:
    """Return the path of a file, which need not exist; ``None`` if there is none."""
    if value is None:
        return None
    text = str(value) if isinstance(value, Path) else read_text(value)
    if not text or "\0" in text:
        raise Refused
    return Path(text)


BACKENDS = ("auto", "process", "docker", "kubernetes", "ecs", "fly")


def read_backend(value: object) -> str:
    """Return one of ``BACKENDS``, which are case-sensitive."""
    text = read_text(value)
    if text not in BACKENDS:
        raise Refused
    return text


def one_of(*names: str) -> Callable[[object], str]:
    """Return a reader of one of ``names``, in any case; it returns lower case."""

    def read(value: object) -> str:
        text = read_text(value).lower()
        if text not in names:
            raise Refused
        return text

    return read


def read_confinement(value: object) -> str:
    """Return ``required``, ``best_effort`` or ``off``."""
    if value is False:  # YAML reads ``off`` as False
        return "off"
    return one_of("required", "best_effort", "off")(value)


def read_readable(value: object) -> str:
    """Return an absolute path exactly as written, white space included."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise Refused
    return value


def read_folder(value: object) -> str | None:
    """Return the absolute path of a directory; ``None`` if there is none."""
    if value is None:
        return None
    text = read_text(value)
    if not text.startswith("/") or any(ord(character) < ord(" ") for character in text):
        raise Refused
    return text


def read_docker_host(value: object) -> str:
    """Return the address of a Docker engine: a Unix socket or a TCP port."""
    text = read_text(value)
    if re.fullmatch(r"unix:///[^\s\x00]+", text):
        return text
    found = re.fullmatch(
        r"tcp://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):([0-9]{1,5})/?", text
    )
    if found is None or not 0 < int(found[2]) <= 65535:  # noqa: PLR2004 - a port
        raise Refused
    return text.rstrip("/")


def read_network(value: object) -> str:
    """Return the name of a network that isolates workers from the host."""
    text = matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*")(value)
    if text in {"host", "none"}:
        shared = (
            "would let workers at the host's own network" if text == "host" else "has no way in"
        )
        raise Refused(shared)
    return text


def read_flag(value: object) -> bool:
    """Return a truth value; strings may be in any case."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise Refused


def read_secret(value: object) -> SecretStr:
    """Return a secret that is not empty, without the white space around it."""
    if isinstance(value, SecretStr):
        return value
    text = read_text(value)
    if not text:
        empty = "is empty"
        raise Refused(empty)
    _refuse_unseen(text)
    return SecretStr(text)


def _refuse_unseen(secret: str) -> None:
    """Refuse invisible characters, which no secret has and files may bring along."""
    if "\ufeff" in secret:
        raise Refused("has a byte order mark in it: save it as UTF-8 without one")
    if "\n" in secret or "\r" in secret:
        raise Refused("has a line break in it (written by Windows, or copied with its line?)")
    if not secret.isprintable():
        raise Refused("has a control character in it")


def read_statements(value: object) -> SecretStr | None:
    """Return SQL; ``None`` if there is none."""
    if value is None or isinstance(value, SecretStr):
        return value
    return SecretStr(text) if (text := read_text(value)) else read_secret(text)


def read_optional_secret(value: object) -> SecretStr | None:
    """Return a secret; ``None`` if there is none."""
    return None if value is None else read_secret(value)


def read_jwt_secret(value: object) -> SecretStr | None:
    """Return a secret that is strong enough to sign tokens; ``None`` if there is none."""
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
