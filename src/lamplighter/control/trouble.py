"""What has gone wrong with an endpoint lately, and when to try again.

Moments are of the monotonic clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

from lamplighter.domain.endpoint import Policy
from lamplighter.domain.lifecycle import SETTLE_TIME, backoff
from lamplighter.errors import (
    Conflict,
    InvalidInput,
    LamplighterError,
    NoCapacity,
    NotAllowed,
    NotFound,
    PaymentRequired,
    ProviderError,
    QuotaExceeded,
    RateLimited,
)


def is_lasting(error: Exception) -> bool:
    """Whether trying again can't help until somebody changes something."""
    if isinstance(error, ProviderError):
        return error.permanent
    return isinstance(error, InvalidInput | NotAllowed | NotFound | PaymentRequired)


def is_refusal(error: Exception) -> bool:
    """Whether the answer was a clear no, to be had again for the same question."""
    return is_lasting(error) or isinstance(error, Conflict)


def is_doubtful(error: Exception) -> bool:
    """Whether what was asked for may have been done all the same: no answer came, or one that says no clear no."""
    if isinstance(error, LamplighterError) and error.in_doubt:
        return True
    if isinstance(error, ProviderError):
        return not error.permanent and not isinstance(error, RateLimited | QuotaExceeded | NoCapacity)
    return not is_refusal(error)


def pause_of(error: Exception) -> float:
    """Seconds for which the provider wants to be left alone; 0.0 where it did not say."""
    return (error.retry_after or 0.0) if isinstance(error, RateLimited) else 0.0


class Trouble:
    """Counts failures in a row and draws the jitter for the pauses between attempts."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self.jitter = jitter
        self.error: str | None = None
        self.failures = 0
        self.permanent = False
        self.retry_at = 0.0
        self.heal_at = 0.0
        self.sleep_retry_at = 0.0
        self.update_at = 0.0
        self.sleep_refused = False
        self.sleep_failed_at: float | None = None
        self._sleep_failures = 0
        self._update_failures = 0
        self._blind_looks = 0
        self._odd: str | None = None

    def wake_failed(self, policy: Policy, now: float, error: str, *, permanent: bool, pause: float) -> None:
        """Try again after a pause that grows from failure to failure, and is no shorter than `pause`."""
        self.failures += 1
        self.permanent = permanent
        self.error = error
        self.retry_at = now + max(pause, backoff(policy, self.failures, self.jitter()))

    def sleep_failed(self, policy: Policy, now: float, error: str, *, refused: bool = False) -> None:
        """Try again after a pause that grows from failure to failure."""
        self._sleep_failures += 1
        self.sleep_failed_at = now
        self.sleep_refused = refused
        self.error = f"putting it to sleep failed: {error}"
        self.sleep_retry_at = now + backoff(policy, self._sleep_failures, self.jitter())

    def update_failed(self, policy: Policy, now: float, error: str) -> None:
        self._update_failures += 1
        self.error = f"the new specification was not taken: {error}"
        self.update_at = now + backoff(policy, self._update_failures, self.jitter())

    def undo_failed(self, policy: Policy, now: float, error: str) -> None:
        self.update_failed(policy, now, error)
        self.error = f"it is not known whether the provider took a change; it is told the old specification: {error}"

    def update_worked(self) -> None:
        self._update_failures = 0
        self.update_at = 0.0

    def look_failed(self, policy: Policy, error: str) -> float:
        """Tell how many seconds to leave the provider alone."""
        self._blind_looks += 1
        self.error = f"the provider could not be asked: {error}"
        return backoff(policy, self._blind_looks, self.jitter())

    def look_worked(self) -> None:
        if self._blind_looks:
            self._blind_looks = 0
            self.error = None

    def not_understood(self, word: str) -> bool:
        """Take note of a state that is none of ours; tells whether that is news."""
        news, self._odd = word != self._odd, word
        self.error = f"the provider says {word[:80]!r}, which is no state that is known here"
        return news

    def understood(self) -> None:
        if self._odd is not None:
            self._odd = self.error = None

    def healing(self, now: float) -> None:
        """Bring back lost replicas at a calm pace."""
        self.heal_at = now + SETTLE_TIME

    def is_awake(self, now: float) -> None:
        """It is up: nothing is wrong any more but a sleep that fails, which is said until it is tried again."""
        if now >= self.sleep_retry_at:
            self.error = None

    def is_proved(self) -> None:
        """It ran well for a while: the next failure is the first."""
        self.failures = 0

    def retry_now(self, now: float) -> None:
        self.retry_at = min(self.retry_at, now)

    def is_over(self) -> None:
        self.error = None
        self.failures = self._sleep_failures = 0
        self.permanent = self.sleep_refused = False
        self.sleep_failed_at = None
        self.retry_at = self.sleep_retry_at = 0.0
