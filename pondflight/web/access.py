"""What stands before every resource: which host is meant, from where, and on whose page.

A name that is not ours in ``Host`` is refused: a web page can make its own name point at this
server (DNS rebinding), and then browsers take its requests for harmless. It cannot do so with an
IP address, with ``localhost`` or with a name that has no dot.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

import falcon

from pondflight.web.configuration import Configuration

_HOST: Final = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?)(?::\d{1,5})?"
)
_METHODS: Final = "GET, POST, DELETE, OPTIONS"
_REQUEST_HEADERS: Final = (
    "authorization, content-type, pondflight-query-only, pondflight-session, "
    "traceparent, tracestate"
)
_RESPONSE_HEADERS: Final = "pondflight-session, retry-after"
_PREFLIGHT_SECONDS: Final = "600"
_IPV6_PREFIX: Final = 64


class HostCheck:
    """Middleware: refuses requests that were meant for another host."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._any = "*" in allowed
        self._names = frozenset(name for name in allowed if not name.startswith("*"))
        self._suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """400 for a Host that is none, 421 for one that is not ours."""
        host = req.env.get("HTTP_HOST")
        if host is None:
            if req.env.get("SERVER_PROTOCOL") == "HTTP/1.0":
                return
            raise falcon.HTTPBadRequest(description="the header Host is missing")
        match = _HOST.fullmatch(host)
        if match is None:
            raise falcon.HTTPBadRequest(description="the header Host is not a host name")
        if not self._is_ours(match["name"].lower().rstrip(".")):
            raise falcon.HTTPError(
                falcon.HTTP_421,
                description="this server does not answer to the host name in the header Host: "
                "its operator can add the name to server.allowed_hosts (ALLOWED_HOSTS)",
            )

    def _is_ours(self, name: str) -> bool:
        if self._any or "." not in name or name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.endswith(self._suffixes) if self._suffixes else False
        return True


class Cors:
    """Middleware: lets web pages of the configured origins call, and read the answers.

    Without credentials: a page sends its user's token itself, and cookies count for nothing.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, req_succeeded: object
    ) -> None:
        """Say to a browser what it asked, if the origin is one of ours."""
        resp.append_header("vary", "Origin")
        origin = req.get_header("origin")
        if origin is None or not (self._any or origin.lower() in self._origins):
            return
        resp.set_header("access-control-allow-origin", "*" if self._any else origin)
        resp.set_header("access-control-expose-headers", _RESPONSE_HEADERS)
        if req.method == "OPTIONS" and req.get_header("access-control-request-method"):
            resp.set_header("access-control-allow-methods", resp.get_header("allow") or _METHODS)
            resp.set_header("access-control-allow-headers", _REQUEST_HEADERS)
            resp.set_header("access-control-max-age", _PREFLIGHT_SECONDS)


class ClientAddress:
    """Where a request came from, as far as that can be believed.

    A reverse proxy adds the address that it saw to ``X-Forwarded-For``. Whatever stands before
    that is the client's own invention. So the header is read from its end, as long as what said
    so is a proxy that is trusted.
    """

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted]

    def of(self, req: falcon.Request) -> str:
        """The address; of an IPv6 client its /64, which is what one customer is given."""
        address = _parsed(req.env.get("REMOTE_ADDR", ""))
        chain = [part.strip() for part in (req.get_header("x-forwarded-for") or "").split(",")]
        while chain and address is not None and any(address in net for net in self._trusted):
            said = _parsed(chain.pop())
            if said is None:
                break
            address = said
        if address is None:
            return "unknown"
        if address.version == 6:  # noqa: PLR2004 - IPv6
            return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
        return str(address)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def middleware(configuration: Configuration) -> list[Any]:
    """In the order in which they see a request."""
    return [Cors(configuration.cors_origins), HostCheck(configuration.allowed_hosts)]
