"""Where a request came from, for the record: the peer's address, or what a proxy that is trusted says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from starlette.types import Scope

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MOST_HOPS = 20


class Sources:
    """Believes `X-Forwarded-For` of the proxies in these networks, and of nobody else: anybody can send it."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(ipaddress.ip_network(network) for network in trusted)

    def of(self, scope: Scope) -> str | None:
        """The address that a request came from; None where that can't be known.

        From the right, the first address that is not a trusted proxy's: what stands left of it is whatever the client
        made up.
        """
        peer = (scope.get("client") or (None,))[0]
        if not self._trusted or peer is None or not self._is_trusted(_address(peer)):
            return peer
        source: str = peer
        for hop in reversed(_hops(scope["headers"])[-_MOST_HOPS:]):
            address = _address(hop)
            if address is None:
                break
            source = str(address)
            if not self._is_trusted(address):
                break
        return source

    def _is_trusted(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> Sequence[str]:
    """All of them in the order in which they were added, whether in one header or several."""
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(values).split(",") if hop.strip()]


def _address(text: str) -> _Address | None:
    """Read an address as proxies write it: with a port, or in brackets, too."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
