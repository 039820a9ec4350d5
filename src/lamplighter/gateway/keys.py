"""Who comes in."""

from __future__ import annotations

from collections.abc import Mapping
from time import time

from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import ANYBODY, PASSER_BY, ApiKey
from lamplighter.errors import NotAllowed
from lamplighter.gateway.hosts import Hosts
from lamplighter.gateway.limits import Meter, Meters

_MAX_SEEN = 4096


class KeyHolder:
    """Who showed a key: the key, and the meter of one with limits."""

    __slots__ = ("key", "meter")

    def __init__(self, key: ApiKey, meter: Meter | None = None) -> None:
        self.key = key
        self.meter = meter


_ANYBODY = KeyHolder(ANYBODY)
WITHOUT_KEY = KeyHolder(PASSER_BY)
"""Who calls a public endpoint without a key that is right."""


class Keys:
    """The door of the gateway: one look-up for who has been here before.

    What was shown and found right is remembered in memory, because a digest takes longer than all other checks; any
    change of the keys forgets it. A look-up there compares hashes that are salted for this process, so its time tells
    nothing of a key.
    """

    __slots__ = ("_hosts", "_is_open", "_keyring", "_meters", "_seen")

    def __init__(self, keyring: Keyring, hosts: Hosts | None = None) -> None:
        """`hosts` are the names under which an open server may be asked for; None: under any."""
        self._keyring = keyring
        self._hosts = hosts
        self._meters = Meters()
        self._seen: dict[bytes | None, KeyHolder] = {}
        self._is_open = keyring.is_open
        keyring.subscribe(self._renew)

    def check(self, credentials: Mapping[bytes, bytes]) -> KeyHolder:
        """Let in who shows a key that counts as `Authorization: Bearer` or `x-api-key`.

        Raises NotAllowed, before anything is woken; WrongHost.
        """
        if self._is_open:
            hosts = self._hosts
            if hosts is not None and credentials.get(b"host") not in hosts.right:
                hosts.check(credentials.get(b"host"))
            return _ANYBODY
        holder = self._seen.get(credentials.get(b"authorization"))
        if holder is not None:
            expires_at = holder.key.expires_at
            if expires_at is None or time() < expires_at:
                return holder
        return self._find(credentials)

    def meter_of(self, key: ApiKey) -> Meter | None:
        """What a key uses of its limits; None for one without."""
        return self._meters.of(key)

    def _find(self, credentials: Mapping[bytes, bytes]) -> KeyHolder:
        shown = bearer(credentials.get(b"authorization", b""))
        secret = shown or credentials.get(b"x-api-key")
        if not secret:
            raise NotAllowed("No key was given. Send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'.")
        key = self._keyring.find(secret, time())
        holder = KeyHolder(key, self._meters.of(key))
        if shown:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()  # one key may be written in many ways
            self._seen[credentials[b"authorization"]] = holder
        return holder

    def _renew(self) -> None:
        self._seen.clear()
        self._is_open = self._keyring.is_open
        self._meters.keep({key.id for key in self._keyring.list()})


def bearer(authorization: bytes) -> bytes:
    """The token of an Authorization header; empty where there is none."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""
