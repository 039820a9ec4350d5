"""What may be sent once more, when, and how often. Pure: time and chance are passed in.

What a status tells is RFC 9110 section 15; 529 is what some model APIs answer when they are overloaded, and 520 to 524
are what a content delivery network answers in place of an origin that fails (Cloudflare's "5xx errors").
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from lamplighter.domain.rolling import Rolling
from lamplighter.domain.routing import Repeat, RetryPolicy

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that do no more when they are repeated (RFC 9110 section 9.2.2)."""

LONGEST_RETRY_AFTER: Final = 3600.0
"""A target that asks to be left alone for longer is asked again after this many seconds all the same."""

_WINDOW = 10.0
_MOST_DOUBLINGS = 30
_FAILURES = frozenset({500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_REFUSALS = frozenset({429, 503, 529})
_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?").fullmatch


class RetryBudget:
    """How many retries one target takes, so that a storm of failures can't feed itself.

    In the last ten seconds at most a share `budget` of its requests, or `least` a second if that is more.
    """

    __slots__ = ("_policy", "_requests", "_retries")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._requests = Rolling(_WINDOW)
        self._retries = Rolling(_WINDOW)

    def note_request(self, now: float) -> None:
        """Count a first attempt. `now` is monotonic, in seconds. Takes some 0.2 µs."""
        self._requests.count(now)

    def may_retry(self, now: float) -> bool:
        """Take one retry, if there is one left."""
        allowed = max(self._policy.least * _WINDOW, self._policy.budget * self._requests.total(now))
        if self._retries.total(now) + 1 > allowed:
            return False
        self._retries.count(now)
        return True


def pause(policy: RetryPolicy, attempt: int, jitter: float) -> float:
    """Seconds before the next attempt, after the `attempt`-th has failed (1 is the first).

    `jitter` is a random number from 0 to 1: the pause may be anything up to its bound, which doubles each time, so that
    requests which failed together come back apart from each other.
    """
    return jitter * min(policy.base * 2.0 ** min(attempt, _MOST_DOUBLINGS), policy.cap)


def may_repeat(repeat: Repeat, *, method: str, executed: bool) -> bool:
    """Whether a request that has failed may be sent once more. `executed`: it may have been, as far as can be told."""
    return not executed or repeat is Repeat.ALWAYS or method in IDEMPOTENT


def is_failure(status: int) -> bool:
    """Whether an answer tells that the target is not well.

    Not 501 or a 4xx, which are about the request; nor 429, which is a healthy target's wish to be left alone.
    """
    return status in _FAILURES


def was_refused(status: int) -> bool:
    """Whether an answer tells for certain that the request was not executed."""
    return status in _REFUSALS


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for: 0 for the past, at most LONGEST_RETRY_AFTER.

    It holds a number of seconds (some servers send fractions) or an HTTP date (RFC 9110 section 10.2.3); None for
    anything else. `now` is Unix time.
    """
    if value is None:
        return None
    text = value.strip()
    seconds = float(text) if _SECONDS(text) else _until(text, now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _until(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
