"""Which names and addresses mean the machine that asks, and which pages are its own."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host name or an address, without a port, always means the machine that asks.

    `localhost` and all names below it do (RFC 6761 section 6.3), and browsers take them so.
    """
    try:
        address = ip_address(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback  # newer versions of Python say so by themselves
    return address.is_loopback


def is_own_page(origin: str, host: str | None) -> bool:
    """Whether a page of `origin` came from the server that is asked as `host`, under a name of this machine.

    A foreign name may have been pointed here after the page was loaded (DNS rebinding), so a page under one is foreign.
    """
    try:
        site = urlsplit(origin)
        name = site.hostname
    except ValueError:
        return False
    return site.netloc == host and name is not None and is_loopback(name)
