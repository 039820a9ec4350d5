"""When a question is asked again, and after how long. Pure: time and chance are passed in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that may be different the next time."""

_RATE_LIMIT = r'"[^"]*"\s*;\s*r\s*=\s*(\d{1,9})\s*;\s*t\s*=\s*(\d{1,9})'
_SECONDS = r"[0-9]{1,9}(\.[0-9]{1,9})?"
# Compiled at first use: an import of the package should not pay for it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient a client is. Durations are in seconds.

    The pause before attempt n + 1 is drawn from the upper half of `base` doubled n times, at most `cap`. Nothing is
    asked again when `attempts` are used up, or when the next one would begin after `deadline`.
    """

    attempts: int = 8
    base: float = 0.5
    cap: float = 8.0
    deadline: float = 60.0

    def pause(self, attempt: int, *, spent: float, chance: float, told: float | None = None) -> float | None:
        """How long to wait after failed attempt number `attempt` (from 1), or None to give up.

        `spent` is the time since the first attempt began, `chance` a random number from 0 to 1, `told` what the
        provider asked for: never less than that is waited.
        """
        if attempt >= self.attempts:
            return None
        own = min(self.cap, self.base * 2.0 ** min(attempt - 1, 30)) * (0.5 + 0.5 * chance)
        wait = own if told is None else told + self.base * chance  # not all at the very moment that was named
        return wait if spent + wait < self.deadline else None


ONCE = Pace(attempts=1)


def told_wait(headers: Mapping[str, str], now: float) -> float | None:
    """How long the provider wants us to wait, in seconds: by `RateLimit` when nothing is left, or by `Retry-After`.

    `headers` has lower-case names, `now` is Unix time. The longer one counts.
    """
    waits = [_by_rate_limit(headers.get("ratelimit", "")), retry_after(headers.get("retry-after", ""), now)]
    told = [wait for wait in waits if wait is not None]
    return max(told) if told else None


def _by_rate_limit(value: str) -> float | None:
    waits = [float(reset) for remaining, reset in re.findall(_RATE_LIMIT, value[:1000]) if int(remaining) == 0]
    return max(waits) if waits else None


def retry_after(value: str, now: float) -> float | None:
    """Read `Retry-After`: seconds, or a date. None where it is neither."""
    value = value.strip()[:100]
    if re.fullmatch(_SECONDS, value):
        return float(value)
    if not value:
        return None
    from email.utils import mktime_tz, parsedate_tz  # noqa: PLC0415 - rarely needed, and not cheap to import

    date = parsedate_tz(value)
    try:
        return max(0.0, mktime_tz((*date[:9], date[9] or 0)) - now) if date else None  # no zone is UTC, as HTTP has it
    except (ValueError, OverflowError):
        return None
