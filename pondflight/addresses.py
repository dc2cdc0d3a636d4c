"""Where a call came from, as far as that can be believed.

A reverse proxy adds the address that it saw to ``X-Forwarded-For``, in HTTP and in gRPC alike.
Whatever stands before that is the client's own invention. So the header is read from its end, as
long as what said so is a proxy that is trusted.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import unquote

_IPV6_PREFIX: Final = 64
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def reachable(host: str) -> str:
    """The address by which this machine reaches what listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def joined(host: str, port: int) -> str:
    """``host:port`` as URIs have it: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Origins:
    """``trusted``: networks of reverse proxies."""

    def __init__(self, trusted: tuple[str, ...] = ()) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted]

    def of(self, peer: str, forwarded: str) -> str:
        """The client's address; of an IPv6 client its /64, which is what one customer is given.

        ``peer`` is who is connected, also in gRPC's way of writing it (``ipv4:192.0.2.1:1234``);
        ``forwarded`` is the header.
        """
        address = _parsed(unquote(peer).removeprefix("ipv4:").removeprefix("ipv6:"))
        chain = [part.strip() for part in forwarded.split(",")]
        while chain and address is not None and any(address in net for net in self._trusted):
            said = _parsed(chain.pop())
            if said is None:
                break
            address = said
        if address is None:
            return "unknown"
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
        return str(address)


def _parsed(text: str) -> Address | None:
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
