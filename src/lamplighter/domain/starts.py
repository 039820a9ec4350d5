"""What earlier starts say about the next one. Times are in seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

REMEMBERED = 10
"""How many past starts count: enough to outvote one slow download, few enough to follow a new machine."""

STEADY_LOOK = 5.0
"""A provider that has to be asked about a start is asked so often in the long run: twelve times a minute (seconds)."""

_EAGER_LOOKS = 3
_EAGER = 0.5
_SAVING = 10.0
_NEAR = (0.9, 1.15)

_LEAST = 1.0
_UNKNOWN = 5.0


def expected_start(durations: Sequence[float]) -> float | None:
    """The median of the last starts; None where nothing was measured."""
    return statistics.median(durations[-REMEMBERED:]) if durations else None


def look_pause(elapsed: float, expected: float | None, looks: int) -> float:
    """How long until the next look at a start that has to be asked about.

    The budget of looks grows with time. It is saved up until the start is likely to be done, by `expected`, and spent
    there, so that the end is noticed soon; a few go at the beginning, for what starts at once. `looks` is how many
    there were since the beginning.
    """
    earliest, latest = (0.0, _EAGER) if expected is None else (_NEAR[0] * expected, _NEAR[1] * expected + _EAGER)
    if elapsed < earliest:
        return max(_EAGER, min(_SAVING, earliest - elapsed))
    spare = _EAGER_LOOKS + elapsed / STEADY_LOOK - looks
    if spare < 1.0 or elapsed > latest + _EAGER:
        return STEADY_LOOK
    left = latest - elapsed
    return min(STEADY_LOOK, max(_EAGER, left / (spare + left / STEADY_LOOK)))


def remaining_start(expected: float | None, elapsed: float) -> float:
    """How long until ready, for `Retry-After` and progress.

    Where nothing was measured, or a start takes longer than it used to, the best guess of a waiting time without
    memory is what has passed already.
    """
    if expected is None:
        return max(_UNKNOWN, elapsed)
    left = expected - elapsed
    return max(_LEAST, left if left > 0 else elapsed / 4)
