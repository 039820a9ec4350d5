"""Replicas that answer badly while others of the same endpoint do not: when to leave one alone, and for how long.

The rules are those of Envoy's outlier detection by consecutive 5xx. Pure; times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

_SPREAD = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierPolicy:
    """`consecutive` bad answers in a row set a replica aside for `pause`, doubled each time up to `longest_pause`.

    One that was back for `longest_pause` without being set aside begins with `pause` again. At most the share `most`
    of an endpoint's replicas is without requests at a time.
    """

    consecutive: int = 5
    pause: float = 10.0
    longest_pause: float = 300.0
    most: float = 0.5

    def may_rest(self, replicas: int) -> int:
        """How many of so many replicas may be without requests at a time; none of one alone."""
        return int(replicas * self.most)


OUTLIERS = OutlierPolicy()


@dataclass(slots=True)
class Standing:
    """How one replica answers: bad answers in a row, how often it was set aside, whether it is now, and until when."""

    bad: int = 0
    times: int = 0
    rests: bool = False
    until: float = 0.0

    def struggled(self, policy: OutlierPolicy) -> bool:
        """Count a bad answer; tells whether that makes it an outlier."""
        self.bad += 1
        return self.bad >= policy.consecutive

    def did_well(self) -> None:
        """A good answer ends the row."""
        self.bad = 0

    def rest(self, policy: OutlierPolicy, now: float, jitter: float) -> float:
        """Set it aside; tells for how many seconds. `jitter` (0 to 1) adds up to a quarter."""
        if now >= self.until + policy.longest_pause:
            self.times = 0
        pause = min(policy.longest_pause, policy.pause * 2.0 ** min(self.times, 32)) * (1.0 + _SPREAD * jitter)
        self.times += 1
        self.rests = True
        self.until = now + pause
        return pause

    def come_back(self, now: float) -> None:
        """It takes requests again, and what it answered meanwhile counts no more."""
        self.rests = False
        self.until = min(self.until, now)
        self.bad = 0
