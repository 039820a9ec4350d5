"""How long requests take, in a fixed number of counters, cheap enough for every request."""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp

QUANTILES = (0.5, 0.9, 0.95, 0.99)

_STEPS = 8  # to each doubling: a quantile is off by less than 7 %
_LEAST = -13  # what is below 69 µs is in the first bucket
_MOST = 13  # what takes more than 2 hours is in the last
_BUCKETS = (_MOST - _LEAST + 1) * _STEPS
_OFFSET = -_LEAST * _STEPS - _STEPS


class Histogram:
    """Durations in buckets that grow with them."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one. Takes some 0.3 µs."""
        mantissa, exponent = frexp(seconds)
        index = exponent * _STEPS + int(mantissa * (2 * _STEPS)) + _OFFSET
        if not 0 <= index < _BUCKETS or seconds <= 0.0:
            index = _BUCKETS - 1 if index >= _BUCKETS else 0
        self.buckets[index] += 1
        self.count += 1
        self.total += seconds

    def quantiles(self, wanted: Sequence[float] = QUANTILES) -> list[float | None]:
        """The durations below which these shares of all lie, in seconds; None while there is none."""
        if not self.count:
            return [None for _ in wanted]
        return [self._quantile(share * self.count) for share in wanted]

    def _quantile(self, rank: float) -> float:
        seen = 0
        for index, count in enumerate(self.buckets):
            if count and seen + count >= rank:
                low, high = bounds(index), bounds(index + 1)
                return low + (high - low) * (rank - seen) / count
            seen += count
        return bounds(_BUCKETS)


def bounds(index: int) -> float:
    """Where a bucket begins, in seconds."""
    exponent, step = divmod(index - _OFFSET - _STEPS, _STEPS)
    return (1 + step / _STEPS) * 2.0 ** (exponent - 1) if index > 0 else 0.0
