"""When an endpoint was used, woke and slept, and how long its starts take."""

from __future__ import annotations

from collections import deque

from lamplighter.control.clock import Clock
from lamplighter.control.journal import Memory
from lamplighter.domain.starts import REMEMBERED, STEADY_LOOK, expected_start, look_pause, remaining_start


class History:
    """Moments of one endpoint: `…_since` and `start_began` on the monotonic clock, `…_time` in Unix time."""

    def __init__(self, clock: Clock, memory: Memory) -> None:
        self._clock = clock
        used = max((m for m in (memory.last_activity, memory.wake_time) if m is not None), default=None)
        self.idle_since = clock.now() - _age(used, clock)
        self.awake_since = clock.now() - _age(memory.wake_time, clock)
        self.state_since = clock.now()
        self.start_began: float | None = None
        self._start_looks = 0
        self._own_start = False
        self.wake_time = memory.wake_time
        self.sleep_time = memory.sleep_time
        self._last_activity = memory.last_activity
        self._last_mono: float | None = None
        self._starts: deque[float] = deque(memory.starts, maxlen=REMEMBERED)

    def last_activity(self, last_mono: float | None) -> float | None:
        """Unix time of the end of the last response, given that of this run on the monotonic clock."""
        if last_mono is not None and last_mono != self._last_mono:
            self._last_mono = last_mono  # converted once: two clocks are never read at the very same moment
            self._last_activity = self._clock.wall() - (self._clock.now() - last_mono)
        return self._last_activity

    def state_changed(self) -> float:
        """Begin a new state; tells how many seconds the old one lasted."""
        now = self._clock.now()
        lasted, self.state_since = now - self.state_since, now
        return lasted

    def start_begins(self, *, own: bool) -> None:
        """A start is under way; only one that we began is learned from: of another the beginning was not seen."""
        self.start_began = self._clock.now()
        self._start_looks = 0
        self._own_start = own

    def is_ready(self, *, came_up: bool) -> float | None:
        """Tell how many seconds a start of ours took; None if it was up already, or not started by us.

        `came_up` says that it was not up before: somebody else's start may have gone unseen from one look to the next.
        """
        if self.start_began is None and not came_up:
            return None
        now = self._clock.now()
        began, self.start_began = self.start_began, None
        self.awake_since = now
        self.idle_since = max(self.idle_since, now)
        if began is None or not self._own_start:
            return None
        took = now - began
        self._starts.append(took)
        return took

    def restart_idle_clock(self) -> None:
        self.idle_since = self._clock.now()

    def expected_start(self) -> float | None:
        return expected_start(list(self._starts))

    def starting_for(self) -> float | None:
        return None if self.start_began is None else self._clock.now() - self.start_began

    def look_pause(self) -> float:
        """Seconds until a start under way is to be looked at again, where nobody tells of its end; counts the looks."""
        if self.start_began is None:
            return STEADY_LOOK
        pause = look_pause(self._clock.now() - self.start_began, self.expected_start(), self._start_looks)
        self._start_looks += 1
        return pause

    def remaining_start(self) -> float:
        """Seconds until a start that is under way, or would begin now, is likely to be done."""
        return remaining_start(self.expected_start(), self.starting_for() or 0.0)


def _age(moment: float | None, clock: Clock) -> float:
    """How long ago a moment of an earlier run was; a clock that was set back makes it now, never the future."""
    return 0.0 if moment is None else max(0.0, clock.wall() - moment)
