"""One thing at a time with a name, each to its end, whether or not somebody still waits for it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from lamplighter.errors import LamplighterError, ShuttingDown

log = structlog.get_logger("lamplighter.control")

T = TypeVar("T")


class Turns:
    """Owns the tasks in which it is done."""

    def __init__(self) -> None:
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def take(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` when it is its turn. It goes on when the caller is cancelled. Raises ShuttingDown."""
        if self._closing:
            work.close()
            raise ShuttingDown("This server is going away.", retry_after=1.0)
        turn = self._turns.setdefault(name, asyncio.Lock())

        async def alone() -> T:
            async with turn:
                return await work

        return await asyncio.shield(self.own(alone(), f"deployment {name}"))

    def own(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Do `work` out of turn, in a task of this name. What it raises is expected if it is of ours."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    async def close(self) -> None:
        """Give up what is under way, and take nothing more."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, LamplighterError):
            log.error("task broke", task=task.get_name(), error=repr(error))
