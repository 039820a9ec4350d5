"""Turns counts of bytes into lines for people, at most four a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lamplighter.engines.base import Progress

_MEGABYTE = 1_000_000


@dataclass(slots=True)
class Meter:
    """Tells `sink` how far `what` ("downloading X") has come. `total` is in bytes, `interval` in seconds.

    The first and the last count are always told. `clock` gives monotonic seconds.
    """

    what: str
    total: int
    sink: Progress
    interval: float = 0.25
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=float("-inf"), init=False)

    def update(self, done: int) -> None:
        """Tell that `done` bytes are there, unless something was told just now."""
        now = self.clock()
        if now < self._next and done < self.total:
            return
        self._next = now + self.interval
        self.sink(f"{self.what}: {megabytes(done)} of {megabytes(self.total)} MB ({_percent(done, self.total)} %)")


def megabytes(amount: int) -> str:
    """Write a number of bytes in MB (10^6), with one decimal below 10."""
    return f"{amount / _MEGABYTE:.0f}" if amount >= 10 * _MEGABYTE else f"{amount / _MEGABYTE:.1f}"


def _percent(done: int, total: int) -> int:
    return 100 * done // total if total else 100
