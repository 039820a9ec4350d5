"""Waiting at the endpoint itself for the end of a start, so that it is noticed at once and not at the next look.

The provider's proxy holds a question for the health route while the endpoint starts. Where it does not, the question
fails at once and is asked again only after the next look: the pace of looks bounds the questions, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from lamplighter.errors import LamplighterError
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.records import Endpoint

log = structlog.get_logger("lamplighter.providers.huggingface")

HOLD = 60.0
"""How long one question is held (seconds)."""

_SLACK = 30.0

PAUSE = 5.0
"""How long no further question is asked after an answer: the state that is told may lag behind it (seconds)."""


class Vigils:
    """At most one for each endpoint. `tell` is called with the endpoint's name here when it answered."""

    def __init__(self, api: ManagementApi, tell: Callable[[str], None]) -> None:
        self._api = api
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, name: str, endpoint: Endpoint) -> None:
        """Wait for an endpoint that was just seen to be starting, unless somebody does already."""
        if name not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._keep(name, endpoint), name=f"vigil {name}")
            self._tasks[name] = task
            task.add_done_callback(lambda done: self._over(name, done))

    def end(self, name: str) -> None:
        """It is not starting any more: a question that is still held must not wake it."""
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """End all."""
        tasks = list(self._tasks.values())
        for name in list(self._tasks):
            self.end(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, name: str, endpoint: Endpoint) -> None:
        try:
            async with asyncio.timeout(HOLD + _SLACK):
                ready = await self._api.is_ready(endpoint, hold=HOLD)
        except (LamplighterError, TimeoutError) as error:
            log.debug("vigil ended", endpoint=name, error=str(error))
            return
        if ready:
            self._tell(name)
            await asyncio.sleep(PAUSE)  # ends with the vigil, at the first look that finds the state to agree

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("vigil broke", endpoint=name, error=repr(error))
