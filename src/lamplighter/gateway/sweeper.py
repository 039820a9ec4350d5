"""Looks at every exchange in progress a few times a second, so that none needs a timer of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Protocol

log = logging.getLogger(__name__)


class Swept(Protocol):
    """What has deadlines."""

    def tick(self, now: float) -> None:
        """Check them; `now` is in `time.monotonic` seconds."""


class Sweeper:
    """`idle_work` runs with each sweep and tells whether there is still something to sweep for.

    With nothing in progress no timer runs. `loop` is the one that all exchanges run on, once there was one.
    """

    __slots__ = ("_empty", "_every", "_idle_work", "_timer", "active", "loop")

    def __init__(self, every: float, idle_work: Callable[[float], bool]) -> None:
        self._every = every
        self._idle_work = idle_work
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.active: set[Swept] = set()

    def enter(self, one: Swept) -> None:
        """Begin to look after an exchange."""
        self.active.add(one)
        if self._timer is None:
            self.loop = asyncio.get_running_loop()
            self._timer = self.loop.call_later(self._every, self._sweep)

    def leave(self, one: Swept) -> None:
        """Stop looking after it."""
        self.active.discard(one)
        if self._empty is not None and not self.active:
            self._empty.set()

    async def emptied(self, timeout: float) -> bool:
        """Wait until nothing is in progress; False when that took longer than `timeout` seconds."""
        if not self.active:
            return True
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Stop sweeping."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        """One that breaks takes the deadline of no other one: the next sweep comes in any case."""
        now, more = monotonic(), True
        try:
            for one in list(self.active):
                try:
                    one.tick(now)
                except Exception:  # the boundary between exchanges: the others are looked at all the same
                    log.exception("a deadline could not be looked at")
            more = self._idle_work(now)
        except Exception:  # there is nobody else to tell, and exchanges may begin meanwhile
            log.exception("idle connections could not be looked at")
        finally:
            self._timer = None
            if more or self.active:
                self._timer = asyncio.get_running_loop().call_later(self._every, self._sweep)
