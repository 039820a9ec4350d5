"""Who may use the management routes, and under which name it is recorded."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from lamplighter.errors import NotAllowed

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, description="A key of this server; not needed where it has none.")


class Access:
    """The digests of the keys that open the management routes."""

    def __init__(self, digests: Collection[str]) -> None:
        self._digests = tuple(sorted(digest.lower() for digest in digests))

    @property
    def is_open(self) -> bool:
        """Whether there is no key at all."""
        return not self._digests

    def actor(self, key: str | None) -> str:
        """Who is behind `key`, for the record. Raises NotAllowed."""
        if self.is_open:
            return "api"
        if not key:
            raise NotAllowed("No key was given. Send it as 'Authorization: Bearer <key>', or as 'x-api-key'.")
        shown = hashlib.sha256(key.encode()).hexdigest()
        # All are compared, each in constant time: how long it takes must tell nothing.
        if not sum(hmac.compare_digest(shown, known) for known in self._digests):
            raise NotAllowed("This key is not known here.")
        return f"key:{shown[:8]}"


def _actor(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> str:
    access: Access = request.app.state.access
    if access.is_open:
        _refuse_other_sites(request)
    key = credentials.credentials if credentials else request.headers.get("x-api-key")
    return access.actor(key.strip() if key else None)


def _refuse_other_sites(request: Request) -> None:
    """Keep web pages of others from operating a server without keys through its owner's browser.

    A page's request that changes something carries its origin. Only this server's own page, under a name of this
    machine (a foreign name may have been pointed here), passes. Programs send no origin.
    """
    origin = request.headers.get("origin")
    if request.method in _SAFE_METHODS or origin is None:
        return
    site = urlsplit(origin)
    if site.netloc != request.headers.get("host") or not _is_loopback(site.hostname):
        raise HTTPException(403, "Requests from other web sites are refused while this server has no keys.")


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


Actor: TypeAlias = Annotated[str, Depends(_actor)]
"""Takes a valid key and gives the name to record: `key:` and the first 8 digits of its digest, or `api`."""
