"""What earlier starts say about the next one. Times are in seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

REMEMBERED = 10
"""How many past starts count: enough to outvote one slow download, few enough to follow a new machine."""

_LEAST = 1.0
_UNKNOWN = 5.0


def expected_start(durations: Sequence[float]) -> float | None:
    """The median of the last starts; None where nothing was measured."""
    return statistics.median(durations[-REMEMBERED:]) if durations else None


def remaining_start(expected: float | None, elapsed: float) -> float:
    """How long until ready, for `Retry-After` and progress.

    Where nothing was measured, or a start takes longer than it used to, the best guess of a waiting time without
    memory is what has passed already.
    """
    if expected is None:
        return max(_UNKNOWN, elapsed)
    left = expected - elapsed
    return max(_LEAST, left if left > 0 else elapsed / 4)
