"""Kinds of values for HTTP and authentication: hosts, origins, networks, URLs, keys."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainSerializer, SecretStr

from pondflight.settings.declaration import MASK, Accepts, Refused

MEMORY = "memory"
"""Storage of the counters for a single proxy."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_CLAIM = re.compile(r"[\x21-\x7e]{1,128}")


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Refused
    return value.strip()


def _allowed_host(value: object) -> str:
    text = _text(value).lower().rstrip(".")
    name = text.removeprefix("*.")
    if text != "*" and (len(name) > 253 or not _HOST.fullmatch(name)):  # noqa: PLR2004 - DNS's limit
        raise Refused
    return text


def _origin(value: object) -> str:
    text = _text(value).lower()
    if text == "*":
        return text
    url = _url(text, ("http", "https"))
    if url != f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" or "@" in url:
        raise Refused("is not an origin")
    return url


def _network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(_text(value), strict=False))
    except ValueError:
        raise Refused from None


def _url(text: str, schemes: tuple[str, ...]) -> str:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise Refused from None
    if url.scheme not in schemes or not url.hostname or re.search(r"[\s\x00-\x1f]", text):
        raise Refused
    return text


def _jwks_url(value: object) -> str:
    return "" if value in (None, "") else _url(_text(value), ("https", "http"))


def _collector(value: object) -> str:
    return "" if value in (None, "") else _url(_text(value), ("https", "http"))


def _storage(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    text = _text(value)
    return SecretStr(text if text == MEMORY else _url(text, ("redis", "rediss")))


def _shown_storage(value: SecretStr) -> str:
    """Return a storage URL without the password that a Redis URL often contains."""
    return MEMORY if value.get_secret_value() == MEMORY else MASK


def _public_key(value: object) -> str:
    """Return the PEM text of a public key, from a file or from the value itself."""
    from pondflight.auth.keys import read_pem  # noqa: PLC0415 - cryptography, for those who need it

    if value in (None, ""):
        return ""
    text = _text(value)
    if text.startswith("/"):
        try:
            text = Path(text).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise Refused(f"cannot be read: {reason}") from None
    try:
        read_pem(text)
    except ValueError as error:
        raise Refused(str(error)) from None
    return text


def _optional_text(value: object) -> str:
    return "" if value in (None, "") else _text(value)


def _claim(value: object) -> str:
    text = _text(value)
    if not _CLAIM.fullmatch(text):
        raise Refused
    return text


AllowedHost = Annotated[
    str,
    BeforeValidator(_allowed_host),
    Accepts("a host name, such as query.example.com, or *.example.com, or * for any"),
]
Origin = Annotated[
    str,
    BeforeValidator(_origin),
    Accepts("an origin, such as https://app.example.com, or * for any"),
]
TrustedNetwork = Annotated[
    str, BeforeValidator(_network), Accepts("an IP address or a network, such as 10.0.0.0/8")
]
Audience = Annotated[str, BeforeValidator(_text), Accepts("a text")]
Issuer = Annotated[
    str, BeforeValidator(_optional_text), Accepts("a text, such as https://login.example.com/")
]
JwksUrl = Annotated[
    str,
    BeforeValidator(_jwks_url),
    Accepts("a URL that begins with https:// (or http://, inside of a network that you trust)"),
]
PublicKey = Annotated[
    str,
    BeforeValidator(_public_key),
    Accepts("a public key in PEM (RSA, P-256 or Ed25519), or the absolute path of a file with it"),
]
Claim = Annotated[str, BeforeValidator(_claim), Accepts("the name of a claim")]
Collector = Annotated[
    str,
    BeforeValidator(_collector),
    Accepts("a URL, such as http://localhost:4318"),
]
CounterStorage = Annotated[
    SecretStr,
    BeforeValidator(_storage),
    PlainSerializer(_shown_storage, when_used="json"),
    Accepts("memory, or redis://[user:password@]host:port/number", secret=True),
]
