"""When to look while an endpoint starts: pure, time is passed in (seconds of one monotonic clock).

A status call costs a provider something, and clients have to share what it allows: at most 12 in any minute. So they
are few at first and dense around the moment at which the start is expected to end. Questions to the endpoint itself
(probes) cost nobody anything, but make no sense long before that moment.
"""

from __future__ import annotations

from collections import deque

PER_MINUTE = 12
"""The budget of status calls in any 60 seconds."""

WINDOW = 60.0

_DENSE = 1.0  # between status calls around the expected moment, as long as the budget has some left
_SPARSE = 15.0
_EVEN = 8.0
_HELD = 10.0
_FIRST = 3.0  # what fails often fails soon
_EARLY, _LATE = 0.85, 1.3  # around the expected moment, in units of it
_PLANNED = PER_MINUTE - 1  # one is kept for the look that confirms what a probe has told
_RESERVE = 2  # calls that are kept for later while it is dense: what is late must still be seen

_PROBE_DENSE = 0.5
_PROBE_IDLE = 2.0
_PROBE_SLOWEST = 5.0


class Pace:
    """Places the looks of one wait. `expected` is how long the start takes, by experience; None where there is none."""

    def __init__(self, began: float, expected: float | None = None) -> None:
        self.began = began
        self.expected = expected
        self._calls: deque[float] = deque(maxlen=_PLANNED)
        self._made = 0

    def called(self, now: float) -> None:
        """Take down that a status call was made."""
        self._calls.append(now)
        self._made += 1

    def next_call(self, now: float, *, held: bool = False, urgent: bool = False) -> float:
        """The moment of the next status call: now or later, within the budget.

        `held` says that the endpoint's proxy holds a question and will answer it at the very moment; then the status
        is asked for only to see a failure. `urgent` says that there is a reason to look, within the budget.
        """
        if not self._calls:
            return now
        last = self._calls[-1]
        return max(now, last + _DENSE if urgent else self._wish(last, held=held), self._budget_allows())

    def next_probe(self, now: float, *, seems_up: bool) -> float:
        """The moment of the next question to the endpoint itself, after one that was answered at once with no.

        `seems_up` says that the provider calls it running: it can only be moments away.
        """
        if seems_up or self.is_close(now):
            return now + _PROBE_DENSE
        if self.expected is not None and now < self._window_opens():
            return max(now + _PROBE_DENSE, min(now + _PROBE_SLOWEST, self._window_opens()))
        return now + min(_PROBE_SLOWEST, max(_PROBE_IDLE, (now - self.began) / 20))

    def is_close(self, now: float) -> bool:
        """Whether the start is expected to end about now."""
        if self.expected is None:
            return False
        return self._window_opens() <= now <= self._window_closes()

    def _wish(self, last: float, *, held: bool) -> float:
        """When the next call would be, without a budget."""
        if self._made == 1:
            return last + _FIRST
        if held:
            return last + _HELD
        if self.expected is None:
            return last + _EVEN
        if last < self._window_opens():
            return min(last + _SPARSE, max(self._window_opens(), last + _DENSE))
        if last < self._window_closes() and len(self._recent(last)) < _PLANNED - _RESERVE:
            return last + _DENSE
        return last + _EVEN

    def _budget_allows(self) -> float:
        """The moment from which one more call keeps to the budget."""
        return self._calls[0] + WINDOW if len(self._calls) == _PLANNED else float("-inf")

    def _recent(self, now: float) -> list[float]:
        return [call for call in self._calls if call > now - WINDOW]

    def _window_opens(self) -> float:
        return self.began + (self.expected or 0.0) * _EARLY

    def _window_closes(self) -> float:
        return self.began + (self.expected or 0.0) * _LATE + _DENSE
