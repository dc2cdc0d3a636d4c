"""Checks before every resource: the host, the client's address, the page's origin.

A ``Host`` that is not ours is refused: a web page can make its own name point at this server (DNS
rebinding), and browsers then take its requests for harmless. It cannot do that with an IP address,
with ``localhost``, or with a name without a dot.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

import falcon
from falcon.asgi import Request, Response

from pondflight.addresses import Origins
from pondflight.telemetry.logs import Event, Seldom, get_logger
from pondflight.web.configuration import Configuration

log = get_logger()

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


class HostCheck:
    """Middleware: refuses requests for other hosts.

    It keeps out pages that make a browser take this server for their own host (DNS rebinding). Such
    pages bring no token, since browsers keep those by host; so they gain nothing where a token is
    needed. ``tokens_for_strangers``: demo tokens are given. Without them, and without names in
    ``allowed``, any host is accepted, and a reverse proxy needs no setting here.
    """

    def __init__(self, allowed: tuple[str, ...], *, tokens_for_strangers: bool) -> None:
        self._any = "*" in allowed or (not allowed and not tokens_for_strangers)
        self._names = frozenset(name for name in allowed if not name.startswith("*"))
        self._suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    async def process_request(self, req: Request, resp: Response) -> None:
        """Raise 400 for an invalid Host, and 421 for one that is not ours."""
        host = req.get_header("host")
        if host is None:  # only HTTP/1.0 may omit it
            return
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

    Without credentials: a page sends its user's token itself, and cookies are ignored.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: object
    ) -> None:
        """Add the CORS headers if the origin is one of ours."""
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
    """The address of a client, as far as it can be trusted: see ``Origins``."""

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._origins = Origins(trusted)

    def of(self, req: Request) -> str:
        """Return the address, or the /64 network of an IPv6 client."""
        peer, _ = req.scope.get("client") or ("", 0)
        return self._origins.of(peer, req.get_header("x-forwarded-for") or "")


class Framing:
    """Middleware: refuses requests that a proxy in between may have read differently."""

    async def process_request(self, req: Request, resp: Response) -> None:
        """Raise 400 for a body with two lengths, 417 for an unknown expectation, 505 for HTTP/2."""
        if req.scope["http_version"] not in ("1.0", "1.1"):
            raise falcon.HTTPError(falcon.HTTP_505, description="this server speaks HTTP/1.1")
        if req.get_header("transfer-encoding") and req.get_header("content-length"):
            raise falcon.HTTPBadRequest(
                description="the length of the body is ambiguous: send one Content-Length, or "
                "Transfer-Encoding: chunked",
                headers={"connection": "close"},
            )
        if (req.get_header("expect") or "100-continue").lower() != "100-continue":
            raise falcon.HTTPError(
                falcon.HTTP_417, description="the only expectation that is met is 100-continue"
            )


class Refusals:
    """Middleware: logs the address of clients without a valid token, or above a limit."""

    _EVENTS: Final = {
        falcon.HTTP_UNAUTHORIZED: Event.AUTHENTICATION_FAILED,
        falcon.HTTP_TOO_MANY_REQUESTS: Event.RATE_LIMIT_EXCEEDED,
    }

    def __init__(self, address: ClientAddress) -> None:
        self._address = address
        self._seldom = Seldom()

    async def process_response(
        self, req: Request, resp: Response, resource: object, req_succeeded: object
    ) -> None:
        """Log the response if its status is one of those."""
        event = self._EVENTS.get(str(resp.status))
        if event is not None:
            address = self._address.of(req)
            if self._seldom.is_due(f"{event} {address}"):
                log.warning(event, address=address)


def middleware(configuration: Configuration) -> list[Any]:
    """Return the middleware, in the order in which a request passes it."""
    return [
        Cors(configuration.cors_origins),
        Framing(),
        HostCheck(configuration.allowed_hosts, tokens_for_strangers=configuration.demo),
        Refusals(ClientAddress(configuration.trusted_proxies)),
    ]
