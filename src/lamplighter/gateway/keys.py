"""Who may come in."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from lamplighter.errors import NotAllowed

_MAX_SEEN = 1024


class Keys:
    """The digests of the keys that open the gateway; none means that it is open to all.

    What was shown and found right is remembered in memory, because a digest takes longer than all other checks. A
    lookup there compares hashes that are salted for this process, so its time tells nothing of a key.
    """

    __slots__ = ("_digests", "_seen")

    def __init__(self, digests: frozenset[str]) -> None:
        self._digests = tuple(digest.lower() for digest in digests)
        self._seen: set[bytes] = set()

    def check(self, credentials: Mapping[bytes, bytes]) -> None:
        """Let in who shows a known key as `Authorization: Bearer` or `x-api-key`.

        Raises NotAllowed, before anything is woken.
        """
        if not self._digests or credentials.get(b"authorization") in self._seen:
            return
        key = _shown(credentials)
        if key is None:
            raise NotAllowed("No key was given. Send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'.")
        if not self._known(hashlib.sha256(key).hexdigest()):
            raise NotAllowed("This key is not known here.")
        if len(self._seen) < _MAX_SEEN and b"x-api-key" not in credentials:
            self._seen.add(credentials[b"authorization"])

    def _known(self, digest: str) -> bool:
        found = False
        for known in self._digests:  # all of them: the time taken must not tell which one was near
            found |= hmac.compare_digest(known, digest)
        return found


def _shown(credentials: Mapping[bytes, bytes]) -> bytes | None:
    scheme, _, token = credentials.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and token.strip():
        return token.strip()
    return credentials.get(b"x-api-key") or None
