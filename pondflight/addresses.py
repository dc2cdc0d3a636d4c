"""The address of a client, as far as it can be trusted.

A reverse proxy appends the address that it sees to ``X-Forwarded-For``, in HTTP and in gRPC alike.
The client could have written whatever stands before that. So the header is read from its end, for
as long as the address that wrote the entry is a trusted proxy.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import unquote

_IPV6_PREFIX: Final = 64
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def reachable(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def joined(host: str, port: int) -> str:
    """Return ``host:port`` as in a URI: an IPv6 address is put in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Origins:
    """Finds clients' addresses; ``trusted`` are the networks of reverse proxies."""

    def __init__(self, trusted: tuple[str, ...] = ()) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted]

    def of(self, peer: str, forwarded: str) -> str:
        """Return the client's address, or the /64 network of an IPv6 client.

        A provider gives a customer a whole /64. ``peer`` is the connected address, also in gRPC's
        form (``ipv4:192.0.2.1:1234``); ``forwarded`` is the value of the header.
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
