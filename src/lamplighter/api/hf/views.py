"""Endpoints as a request sees them: what is looked up for `rendering`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable
from typing import Any

from fastapi import Request

from lamplighter.api.hf.context import ServedWire
from lamplighter.api.hf.rendering import Surroundings, flawed, rendered, rendered_broken
from lamplighter.domain.endpoint import Endpoint
from lamplighter.errors import EndpointNotFound

_AT_ONCE = 50  # some 5 ms of work


def one_of_them(served: ServedWire, request: Request, name: str) -> dict[str, Any]:
    """One endpoint, by its name or an alias. Raises EndpointNotFound."""
    return _shown(served, name, _around(served, request))


async def all_of_them(served: ServedWire, request: Request, names: Iterable[str]) -> list[dict[str, Any]]:
    """These endpoints; one that went away meanwhile is left out. Lets others have their turn now and then."""
    around = _around(served, request)
    shown = []
    for index, name in enumerate(names, start=1):
        with contextlib.suppress(EndpointNotFound):
            shown.append(_shown(served, name, around))
        if index % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return shown


def _shown(served: ServedWire, name: str, around: Surroundings) -> dict[str, Any]:
    if (broken := served.deployments.broken.get(name)) is not None:
        return rendered_broken(broken, around)
    endpoint = served.operations.endpoint(name)
    return _rendered(served, flawed(endpoint, served.deployments.flaws.get(endpoint.spec.name)), around)


def _rendered(served: ServedWire, endpoint: Endpoint, around: Surroundings) -> dict[str, Any]:
    """Tell it by the document that was last asked for, also while that is still being brought about."""
    asked = served.deployments.deployment(endpoint.spec.name)
    if asked is None or asked is endpoint.spec.deployment:
        return rendered(endpoint, around)
    spec = dataclasses.replace(endpoint.spec, deployment=asked)
    return rendered(dataclasses.replace(endpoint, spec=spec), around, updating=True)


def _around(served: ServedWire, request: Request) -> Surroundings:
    priced = served.prices.priced if served.prices is not None else _unpriced
    return Surroundings(
        base=str(request.base_url),
        started=served.started,
        hardware=served.deployments.known_hardware(),
        leases=served.leases.list() if served.leases is not None else (),
        price=priced,
        spending=served.spending,
    )


def _unpriced(_: str) -> None:
    return None
