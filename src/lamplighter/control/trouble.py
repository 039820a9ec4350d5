"""What has gone wrong with an endpoint lately, and when to try again.

Moments are of the monotonic clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

from lamplighter.domain.endpoint import Policy
from lamplighter.domain.lifecycle import SETTLE_TIME, backoff


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
        self._sleep_failures = 0
        self._blind_looks = 0

    def wake_failed(self, policy: Policy, now: float, error: str, *, permanent: bool) -> None:
        self.failures += 1
        self.permanent = permanent
        self.error = error
        self.retry_at = now + backoff(policy, self.failures, self.jitter())

    def sleep_failed(self, policy: Policy, now: float, error: str) -> None:
        self._sleep_failures += 1
        self.error = f"putting it to sleep failed: {error}"
        self.sleep_retry_at = now + backoff(policy, self._sleep_failures, self.jitter())

    def look_failed(self, policy: Policy, error: str) -> float:
        """Tell how many seconds to leave the provider alone."""
        self._blind_looks += 1
        self.error = f"the provider could not be asked: {error}"
        return backoff(policy, self._blind_looks, self.jitter())

    def look_worked(self) -> None:
        if self._blind_looks:
            self._blind_looks = 0
            self.error = None

    def healing(self, now: float) -> None:
        """Bring back lost replicas at a calm pace."""
        self.heal_at = now + SETTLE_TIME

    def is_proved(self) -> None:
        """It ran well for a while: the next failure is the first."""
        self.failures = 0

    def retry_now(self, now: float) -> None:
        self.retry_at = min(self.retry_at, now)

    def is_over(self) -> None:
        self.error = None
        self.failures = self._sleep_failures = 0
        self.permanent = False
        self.retry_at = self.sleep_retry_at = 0.0
