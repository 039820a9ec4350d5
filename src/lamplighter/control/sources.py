"""Where a request came from, for the record: the peer's address, or what a proxy that is trusted says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MOST_HOPS = 20


class Sources:
    """Believes `X-Forwarded-For` of the proxies in these networks, and of nobody else: anybody can send it."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(ipaddress.ip_network(network) for network in trusted)

    @property
    def believes(self) -> bool:
        """Whether there is any proxy to believe."""
        return bool(self._trusted)

    def of(self, scope: Mapping[str, Any]) -> str | None:
        """The address that a request of this ASGI scope came from; None where that can't be known."""
        peer = (scope.get("client") or (None,))[0]
        return self.source(peer, forwarded_for(scope["headers"])) if self._trusted and peer is not None else peer

    def is_secure(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request came through TLS, here or at a proxy that is trusted and says so (`X-Forwarded-Proto`)."""
        if scope.get("scheme") in {"https", "wss"}:
            return True
        peer = (scope.get("client") or (None,))[0]
        if peer is None or not self._is_trusted(_address(peer)):
            return False
        said = next((value for name, value in scope["headers"] if name == b"x-forwarded-proto"), b"")
        return bool(said.partition(b",")[0].strip().lower() == b"https")

    def source(self, peer: str, forwarded: bytes) -> str:
        """The address behind `peer`, which said that it forwards for others.

        From the right, the first address that is not a trusted proxy's: what stands left of it is whatever the client
        made up.
        """
        if not self._is_trusted(_address(peer)):
            return peer
        source = peer
        for hop in reversed(_hops(forwarded)[-_MOST_HOPS:]):
            address = _address(hop)
            if address is None:
                break
            source = str(address)
            if not self._is_trusted(address):
                break
        return source

    def _is_trusted(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What proxies added, in that order, whether in one header or several; empty where there was none."""
    return b",".join([value for name, value in headers if name == b"x-forwarded-for"])


def _hops(forwarded: bytes) -> Sequence[str]:
    return [hop.strip() for hop in forwarded.decode("latin-1").split(",") if hop.strip()]


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
