"""How long requests take, in a fixed number of counters, cheap enough for every request."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log2

QUANTILES = (0.5, 0.9, 0.95, 0.99)

_STEPS = 8  # to each doubling: a quantile is off by less than 5 %
_LEAST = -13  # what is below 122 µs is in the first bucket
_MOST = 13  # what takes more than 2 hours is in the last
BUCKETS = (_MOST - _LEAST) * _STEPS + 1
"""How many a histogram has."""

_OFFSET = float(-_LEAST * _STEPS)
_FLOOR = 2.0**_LEAST

EDGES = tuple(2.0**power for power in range(-9, 12))
"""Where coarser buckets, of which there are few enough to be told to others, end: from 2 ms to 34 minutes (seconds)."""
_INDICES = tuple((power - _LEAST) * _STEPS for power in range(-9, 12))


class Histogram:
    """Durations in buckets that grow with them."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.total = 0.0

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self.buckets)

    def add(self, seconds: float) -> None:
        """Count one. Takes some 0.25 µs."""
        index = int(log2(seconds) * _STEPS + _OFFSET) if seconds > _FLOOR else 0
        try:
            self.buckets[index] += 1
        except IndexError:
            self.buckets[-1] += 1
        self.total += seconds

    def copy(self) -> Histogram:
        """One like it, that what is counted later does not change."""
        twin = Histogram()
        twin.buckets, twin.total = self.buckets[:], self.total
        return twin

    def absorb(self, other: Histogram) -> None:
        """Add up."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.total += other.total

    def below(self) -> list[tuple[float, int]]:
        """For each of `EDGES`, in seconds, how many were shorter; the last one is how many there are in all."""
        found, seen, last = [], 0, 0
        for edge, index in zip(EDGES, _INDICES, strict=True):
            seen += sum(self.buckets[last:index])
            found.append((edge, seen))
            last = index
        found.append((inf, seen + sum(self.buckets[last:])))
        return found

    def quantiles(self, wanted: Sequence[float] = QUANTILES) -> list[float | None]:
        """The durations below which these shares of all lie, in seconds; None while there is none."""
        count = self.count
        return [self._quantile(share * count) if count else None for share in wanted]

    def _quantile(self, rank: float) -> float:
        seen = 0
        for index, count in enumerate(self.buckets):
            if count and seen + count >= rank:
                low, high = bounds(index), bounds(index + 1)
                return low + (high - low) * (rank - seen) / count
            seen += count
        return bounds(BUCKETS)


def bounds(index: int) -> float:
    """Where a bucket begins, in seconds."""
    return 2.0 ** ((index - _OFFSET) / _STEPS) if index > 0 else 0.0
