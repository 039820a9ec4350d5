"""How soon a slot gets free where requests wait for one. Times are seconds of one monotonic clock."""

from __future__ import annotations

from collections import deque

REMEMBERED = 64
"""So many ends of requests tell the rate: enough to even out, few enough to follow a change."""

LEAST = 1.0


class Turnover:
    """Counts the ends of requests while others wait: only then they tell how fast the endpoint works at its bound."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=REMEMBERED)
        self._began: float | None = None

    def begin(self, now: float) -> None:
        """Somebody has to wait for a slot from now on; said again it does nothing."""
        if self._began is None:
            self._began = now
            self._ends.clear()

    def note(self, now: float) -> None:
        """A request has ended."""
        self._ends.append(now)

    def stop(self) -> None:
        """Nobody waits any more."""
        self._began = None

    def expected_wait(self, ahead: int, now: float) -> float:
        """Seconds until so many slots got free, at least 1.

        While none did, the best guess for the next one is the time that has passed already.
        """
        if self._began is None:
            return LEAST
        ends = len(self._ends)
        if ends < REMEMBERED:
            since, intervals = self._began, max(1, ends)
        else:
            since, intervals = self._ends[0], ends - 1
        return max(LEAST, ahead * (now - since) / intervals)
