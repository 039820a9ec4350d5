"""Replicas on their way out: each is ended by a task of its own, and kept in mind until nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from lamplighter.errors import ProviderError
from lamplighter.providers.local.machine import Machine

log = structlog.get_logger("lamplighter.providers.local")


@dataclass(slots=True)
class _Ending:
    id: str
    port: int | None
    end: Callable[[], Awaitable[None]]
    task: asyncio.Task[None]


class Endings:
    """`changed` is called when one is over. `error` says why the last one that failed did."""

    def __init__(self, machine: Machine, changed: Callable[[], None]) -> None:
        self.error: str | None = None
        self._machine = machine
        self._changed = changed
        self._endings: dict[str, _Ending] = {}

    def __bool__(self) -> bool:
        return bool(self._endings)

    def begin(self, replica_id: str, port: int | None, end: Callable[[], Awaitable[None]]) -> None:
        """End this replica; `end` raises ProviderError when something of it survives."""
        task = asyncio.create_task(self._run(replica_id, port, end), name=f"end {replica_id}")
        self._endings[replica_id] = _Ending(replica_id, port, end, task)

    def retry(self) -> None:
        """Try again where something survived."""
        for ending in list(self._endings.values()):
            if ending.task.done():
                self.begin(ending.id, ending.port, ending.end)

    async def finished(self, only: str | None = None) -> None:
        """Wait until all are over, or the one of this replica. Being cancelled stops none.

        Raises ProviderError when something survived.
        """
        while tasks := {ending.task for ending in self._chosen(only) if not ending.task.done()}:
            await asyncio.wait(tasks)
        if self._chosen(only):
            raise ProviderError(self.error or "something of what ran before can't be ended")

    def _chosen(self, only: str | None) -> list[_Ending]:
        return [ending for ending in self._endings.values() if only in (None, ending.id)]

    async def abandon(self) -> None:
        """Stop working on them: they are left to the next server."""
        tasks = [ending.task for ending in self._endings.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, replica_id: str, port: int | None, end: Callable[[], Awaitable[None]]) -> None:
        try:
            await end()
        except ProviderError as error:
            self.error = str(error)
            log.warning("replica not ended", replica=replica_id, error=self.error)
        except Exception as error:  # a bug, then: it counts as not ended, and the next sleep tries again
            self.error = f"ending {replica_id} failed: {type(error).__name__}"
            log.exception("replica not ended", replica=replica_id)
        else:
            del self._endings[replica_id]
            self._machine.forget(replica_id, port)
        self._changed()
