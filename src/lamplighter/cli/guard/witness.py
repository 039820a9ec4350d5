"""Since when an endpoint has been running, where its record alone does not tell: by its graphs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lamplighter.cli.guard.bill import Running
from lamplighter.cli.reach.together import AT_ONCE
from lamplighter.errors import LamplighterError
from lamplighter.sdk.figures import last_request, runs_since

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient

_MARGIN = 900.0
"""Seconds asked for beyond the time that matters: the graph's first point lies somewhere in its first step."""


async def witnesses(client: AsyncClient, found: Sequence[Running], idle: float, now: float) -> list[Running]:
    """The same, with what their graphs of the last `idle` seconds add. What can't be asked for stays unknown."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(running: Running) -> Running:
        async with turns:
            return await _witness(client, running, idle, now)

    return list(await asyncio.gather(*(one(running) for running in found)))


async def _witness(client: AsyncClient, running: Running, idle: float, now: float) -> Running:
    endpoint = running.endpoint
    try:
        seen = await client.metrics(endpoint.name, window=_window(idle), namespace=endpoint.namespace)
    except LamplighterError as error:
        return replace(running, unknown=f"its graphs could not be asked for: {error.message}")
    since = runs_since(seen.raw, now)
    used = max((at for at in (running.last_used, last_request(seen.raw)) if at is not None), default=None)
    return replace(running, since=since, last_used=used, unknown=None if since else "its graphs do not tell")


def _window(idle: float) -> float:
    return min(1.25 * idle + _MARGIN, 366 * 86400.0)
