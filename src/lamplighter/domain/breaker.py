"""Leaving a target alone that goes on failing, and finding out when it has recovered. Pure; monotonic seconds.

```
           rate of failures reached              pause over, a probe begins
  closed ───────────────────────────> open ───────────────────────────────> half-open
    ^                                  ^                                      │    │
    │                                  └────────── the probe failed ──────────┘    │
    └────────────────────────── enough probes in a row succeeded ──────────────────┘
```
"""

from __future__ import annotations

import enum

from lamplighter.domain.rolling import Rolling
from lamplighter.domain.routing import BreakerPolicy

_JITTER = 0.2  # pauses are up to a fifth shorter, so that targets that failed together are not probed together
NO_PROBE = 0


class BreakerState(enum.StrEnum):
    """Whether a target's requests are let through: all, none, or one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Counts how a target's attempts end.

    An attempt asks `admits`, then `began`, and says once how it ended, with what `began` gave. Only probes have a say
    while the breaker is not closed: what began before it opened tells nothing about now.
    """

    __slots__ = (
        "_bad",
        "_good",
        "_pause",
        "_policy",
        "_probe",
        "_probe_until",
        "_probes",
        "_proofs",
        "is_closed",
        "retry_at",
        "state",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self.state = BreakerState.CLOSED
        self.is_closed = True
        """The same as `state`, for the hot path."""
        self.retry_at = 0.0
        """When the pause is over. Without a meaning while closed."""
        self._policy = policy
        self._good = Rolling(policy.window)
        self._bad = Rolling(policy.window)
        self._pause = policy.pause
        self._proofs = 0
        self._probes = NO_PROBE  # how many there were
        self._probe = NO_PROBE  # the one in flight
        self._probe_until = 0.0

    def admits(self, now: float) -> bool:
        """Whether an attempt may be made now.

        A probe that has told nothing for the policy's `longest_pause` holds up the next one no longer.
        """
        if self.is_closed:
            return True
        return now >= self.retry_at and (self._probe == NO_PROBE or now >= self._probe_until)

    def began(self, now: float) -> int:
        """Note the start of an attempt, right after `admits`. What it gives has to be shown at its end.

        May be left out, and `NO_PROBE` shown, while the breaker is closed; and for an attempt that is made although it
        was not admitted, which then has no say.
        """
        if self.is_closed or not self.admits(now):
            return NO_PROBE
        self.state = BreakerState.HALF_OPEN
        self._probes += 1
        self._probe = self._probes
        self._probe_until = now + self._policy.longest_pause
        return self._probe

    def succeeded(self, now: float, probe: int) -> None:
        """Note an attempt that got an answer. Takes some 0.2 µs while closed."""
        if self.is_closed:
            self._good.count(now)
        elif probe == self._probe != NO_PROBE:
            self._probe = NO_PROBE
            self._proofs += 1
            if self._proofs >= self._policy.proofs:
                self._close()

    def failed(self, now: float, probe: int, *, jitter: float) -> None:
        """Note an attempt that failed by the target's fault. `jitter` is a random number from 0 to 1."""
        if self.is_closed:
            self._bad.count(now)
            if self._is_bad(now):
                self._open(now, self._policy.pause, jitter)
        elif probe == self._probe != NO_PROBE:
            self._open(now, min(self._pause * 2, self._policy.longest_pause), jitter)

    def abandoned(self, probe: int) -> None:
        """Note an attempt that ended without telling anything about the target, such as by a client that left."""
        if probe == self._probe:
            self._probe = NO_PROBE

    def _is_bad(self, now: float) -> bool:
        bad = self._bad.total(now)
        total = bad + self._good.total(now)
        return total >= self._policy.least and bad >= self._policy.rate * total

    def _open(self, now: float, pause: float, jitter: float) -> None:
        self.state = BreakerState.OPEN
        self.is_closed = False
        self._pause = pause
        self._proofs = 0
        self._probe = NO_PROBE
        self.retry_at = now + pause * (1 - _JITTER * jitter)

    def _close(self) -> None:
        self.state = BreakerState.CLOSED
        self.is_closed = True
        self._proofs = 0
        self._good.clear()
        self._bad.clear()
