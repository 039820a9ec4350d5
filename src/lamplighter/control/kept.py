"""What somebody told, kept for a while: with its age, and with what went wrong since."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lamplighter.control.clock import Clock
from lamplighter.errors import LamplighterError, ProviderTimeout

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What was told at the Unix time `at`, `age` seconds ago. `trouble` is why nothing newer is known."""

    value: T
    at: float
    age: float
    trouble: str | None = None


class Kept(Generic[T]):
    """Answers by what was asked, the least recently used one given up for another beyond `most`.

    One is taken for true for `fresh` seconds; when it can't be renewed, for `stale` seconds, and whoever can't tell is
    left alone for `pause` seconds. Nobody asks while somebody else asks the same. `patience` bounds each question.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        most: int = 1,
        fresh: float = 300.0,
        stale: float = 86400.0,
        pause: float = 10.0,
        patience: float = 45.0,
    ) -> None:
        self._clock = clock
        self._most = most
        self._fresh, self._stale, self._pause, self._patience = fresh, stale, pause, patience
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()

    async def get(self, asked: Hashable, ask: Callable[[], Awaitable[T]]) -> Told[T]:
        """What is known, asked for anew when it is old. Raises what `ask` does where nothing usable is known."""
        entry = self._entries.get(asked)
        if entry is None:
            entry = self._entries[asked] = _Entry()
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        self._entries.move_to_end(asked)
        async with entry.asking:
            if self._clock.now() >= entry.next_look:
                await self._renew(entry, ask)
            return self._told(entry)

    async def _renew(self, entry: _Entry[T], ask: Callable[[], Awaitable[T]]) -> None:
        try:
            async with asyncio.timeout(self._patience):
                value = await ask()
        except TimeoutError:
            self._failed(entry, ProviderTimeout(f"There was no answer within {self._patience:g} s."))
        except LamplighterError as error:
            self._failed(entry, error)
        else:
            entry.told, entry.error = (value, self._clock.now(), self._clock.wall()), None
            entry.next_look = self._clock.now() + self._fresh

    def _failed(self, entry: _Entry[T], error: LamplighterError) -> None:
        entry.error, entry.next_look = error, self._clock.now() + self._pause

    def _told(self, entry: _Entry[T]) -> Told[T]:
        now = self._clock.now()
        if entry.told is not None and now - entry.told[1] <= self._stale:
            value, since, at = entry.told
            return Told(value, at, now - since, entry.error.message if entry.error else None)
        assert entry.error is not None
        raise entry.error


class _Entry(Generic[T]):
    """`told` is the value, and when it was told, by both clocks."""

    def __init__(self) -> None:
        self.asking = asyncio.Lock()
        self.told: tuple[T, float, float] | None = None
        self.error: LamplighterError | None = None
        self.next_look = float("-inf")
