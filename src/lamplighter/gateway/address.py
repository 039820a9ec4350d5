"""Where a replica is, with everything about it that goes into each request already rendered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from lamplighter.domain.endpoint import Replica
from lamplighter.errors import UpstreamUnreachable
from lamplighter.gateway.headers import NOT_SENT_UPSTREAM

_MAX_KNOWN = 1024
_ACCOUNTS = frozenset({b"openai-organization", b"openai-project", b"x-goog-user-project"})
"""Headers that choose an account at an upstream: that is for whoever configured its key."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch


class UnusableAddress(UpstreamUnreachable):
    """The replica's URL or headers are such that nothing can be sent there, ever."""


class Origin(NamedTuple):
    """What connections are shared by. A tuple, because its hash is asked for twice a request."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Address:
    """`lines` are the Host header and the replica's own; `owned` are the names that a client's headers may not take.

    `proxied`, `model` and `strip`: see `Replica`.
    """

    origin: Origin
    base: bytes
    lines: bytes
    owned: frozenset[bytes]
    proxied: bool = False
    model: str | None = None
    strip: bytes = b""


class Addresses:
    """Remembers what was rendered, for as long as the replica stays the same object.

    By the replica's id: several may share one URL, behind a provider's proxy.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[Replica, Address]] = {}

    def of(self, replica: Replica) -> Address:
        """The address of a replica. Raises UnusableAddress if its URL or headers can't be used."""
        entry = self._known.get(replica.id)
        if entry is not None and entry[0] is replica:
            return entry[1]
        address = render(replica)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[replica.id] = (replica, address)
        return address


def render(replica: Replica) -> Address:
    """Take a replica's URL and headers apart, once."""
    parts = urlsplit(replica.url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not _VALUE(replica.url):
        raise UnusableAddress(f"Replica {replica.id!r} has a URL that can't be used.")
    tls = parts.scheme == "https"
    host = parts.netloc.rpartition("@")[2]
    headers = [("host", host), *replica.headers]
    if not all(_NAME(name) and _VALUE(value) for name, value in headers):
        raise UnusableAddress(f"Replica {replica.id!r} has a header that can't be sent.")
    accounts = _ACCOUNTS if replica.strip else frozenset()
    return Address(
        origin=Origin(parts.hostname, port or (443 if tls else 80), tls),
        base=parts.path.rstrip("/").encode(),
        lines="".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1"),
        owned=(frozenset(name.lower().encode() for name, _ in replica.headers) - NOT_SENT_UPSTREAM) | accounts,
        proxied=replica.proxied,
        model=replica.model,
        strip=replica.strip.encode(),
    )
