"""How often something may be done: a bucket that holds a minute's worth and fills steadily. Pure; time is passed in.

Counted as the generic cell rate algorithm does (ITU-T I.371): one moment is all that is kept of a bucket. Any clock
will do that goes forward; moments and durations are seconds.
"""

from __future__ import annotations

from math import floor

MINUTE = 60.0

_ROUNDING = 1e-9


class Bucket:
    """Holds `per_minute` at most, and as many flow in during a minute. It is full when it is made."""

    __slots__ = ("_full_at", "_interval", "per_minute")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._interval = MINUTE / per_minute
        self._full_at = float("-inf")
        """The moment at which it is full again: what the algorithm calls the theoretical arrival time."""

    def take(self, now: float) -> bool:
        """Take one out if there is one."""
        then = max(self._full_at, now) + self._interval
        if then - now > MINUTE + _ROUNDING:
            return False
        self._full_at = then
        return True

    def charge(self, amount: int, now: float) -> None:
        """Take out what was used already, even if there is less: the bucket then owes the rest."""
        self._full_at = max(self._full_at, now) + amount * self._interval

    def left(self, now: float) -> int:
        """How many can be taken out at once; 0 for a bucket that owes."""
        return self.left_if(self.full_in(now))

    def left_if(self, full_in: float) -> int:
        """The same for a bucket of which is known in how many seconds it is full."""
        return max(0, floor((MINUTE - full_in) / self._interval + _ROUNDING))

    def wait(self, now: float) -> float:
        """How long it takes until one can be taken out."""
        return max(0.0, self.full_in(now) + self._interval - MINUTE)

    def full_in(self, now: float) -> float:
        """How long it takes until the bucket is full."""
        return max(0.0, self._full_at - now)
