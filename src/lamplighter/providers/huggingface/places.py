"""Which endpoint of the provider is meant: by its name and namespace, or by the address that its requests go to."""

from __future__ import annotations

import asyncio
import difflib
from typing import NamedTuple

from lamplighter.domain.endpoint import Creation, Remote, Spec
from lamplighter.errors import EndpointNotFound, InvalidInput, LamplighterError
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.records import Endpoint

LISTING_AGE = 5.0
"""How long a listing serves to find endpoints by their address (seconds)."""


class Place(NamedTuple):
    """Where an endpoint is at its provider."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def is_own(spec: Spec) -> bool:
    """Whether it was made over our management API: then it is deleted with its spec. All others are only forgotten."""
    return spec.deployed and spec.remote is None


def may_make(spec: Spec) -> bool:
    """Whether the next request makes it when it is not there."""
    return spec.deployment is not None and spec.remote is not None and spec.remote.create is Creation.IF_MISSING


class Places:
    """Finds endpoints. `namespace` is where those are that do not say; None for the token owner's own."""

    def __init__(self, api: ManagementApi, namespace: str | None) -> None:
        self._api = api
        self._namespace = namespace
        self._listed: list[Endpoint] = []
        self._listed_at = float("-inf")

    async def place_of(self, spec: Spec) -> Place:
        """Where a spec's endpoint is, or would be. Raises EndpointNotFound for an address that no endpoint has."""
        remote = spec.remote or Remote()
        if remote.url is not None:
            return await self._by_address(remote.url)
        namespace = await self._api.namespace(remote.namespace or self._namespace)
        return Place(namespace, remote.name or spec.name)

    async def _by_address(self, url: str) -> Place:
        for fresh in (False, True):
            for endpoint in await self._listing(fresh=fresh):
                if endpoint.url is not None and endpoint.url.lower() == url.lower():
                    return Place(endpoint.namespace, endpoint.name)
        where = f"namespace {self._namespace!r}" if self._namespace else "the namespaces of this token"
        raise EndpointNotFound(url, (), where=where)

    async def _listing(self, *, fresh: bool) -> list[Endpoint]:
        """All endpoints. One listing serves all that are looked for within a moment, as at the start of a server."""
        now = asyncio.get_running_loop().time()
        if fresh or now - self._listed_at > LISTING_AGE:
            self._listed = await self._api.list(self._namespace or "*")
            self._listed_at = now
        return self._listed

    async def missing(self, spec: Spec, place: Place | None) -> InvalidInput:
        """The error for an endpoint that is not there and must not be made."""
        field = f"endpoints.{spec.name}.remote"
        if place is None:
            url = spec.remote.url if spec.remote else ""
            text = f"no endpoint that this token can see has the address {url}"
            return InvalidInput(f"{field}: {text}. The console's URL of the endpoint would do, too.", field=field)
        near = await self._near(place)
        text = f"there is no endpoint {place}.{near} `create: if-missing` with a `deployment` would make it"
        return InvalidInput(f"{field}: {text}.", field=field)

    async def _near(self, place: Place) -> str:
        try:
            names = [endpoint.name for endpoint in await self._api.list(place.namespace)]
        except LamplighterError:
            return ""  # it was only for a hint
        match = difflib.get_close_matches(place.name, names, n=1)
        return f" Did you mean {match[0]!r}?" if match else ""
