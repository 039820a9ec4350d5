"""Replicas behind a provider's proxy, which answers in their place while the endpoint sleeps or starts.

Such an answer is told from the endpoint's own by its form: `{"error": "<text>", "code": "<CODE>"}`. The endpoint has
not got the request then, so it may be sent again, whatever its method.
"""

from __future__ import annotations

import logging
from time import monotonic

import msgspec

from lamplighter.errors import (
    EndpointBusy,
    EndpointPaused,
    QueueFull,
    ShuttingDown,
    Unavailable,
    UpstreamUnreachable,
    WakeFailed,
    WakeTimeout,
)
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.upstream import UpstreamConnection

log = logging.getLogger(__name__)

LONGEST_WORD = 4096
"""What the proxy says is short; a longer answer is the endpoint's (bytes)."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0

_MAY_BE_THE_PROXYS = frozenset({400, 502, 503})
_REFUSALS = frozenset({401, 403})
_CODES = {502: "BAD_GATEWAY", 503: "SERVICE_UNAVAILABLE"}
_NEVER_SENT = UpstreamUnreachable.code
_UNSENT = frozenset(
    kind.code
    for kind in (UpstreamUnreachable, Unavailable, WakeTimeout, WakeFailed, EndpointBusy, QueueFull, ShuttingDown)
)
_PAUSED = ("endpoint is paused", "bad request: invalid state")


def time_left(x: Exchange) -> float:
    """What is left of the time that the request may be held at the proxy (seconds)."""
    left = x.time_left()
    if left is not None:
        return left
    return max(0.0, x.services.demand.wake_timeout(x.endpoint) - (monotonic() - x.started))


def hold_line(seconds: float) -> bytes:
    """The header that has the proxy hold a request while the endpoint starts."""
    return b"x-scale-up-timeout: %d\r\n" % max(1, int(seconds))


async def turned_away(x: Exchange) -> bool:
    """Whether the provider's proxy answered, because the endpoint is asleep, paused or still starting.

    Waits for the whole of a short answer; takes nothing of it.
    """
    upstream = x.upstream
    assert upstream is not None
    if upstream.status in _REFUSALS:
        log.warning("the provider refused our token: endpoint=%s status=%d", x.endpoint, upstream.status)
    if upstream.status not in _MAY_BE_THE_PROXYS or _is_long(upstream):
        return False
    body = await upstream.whole_within(LONGEST_WORD)
    return upstream.complete and is_proxys(upstream.status, body)


def is_proxys(status: int, body: bytes) -> bool:
    """Whether an answer is the proxy's own, and says that the endpoint is not up.

    Only its own words count, a 502 in the form that it used before it turned to 503: any other answer may come from
    behind it, after the endpoint had begun to work. A Lamplighter that stands for the proxy tells by its `reason`
    whether the request was sent on.
    """
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(said, dict) or "error_type" in said:
        return False
    text, code = said.get("error"), said.get("code")
    if not isinstance(text, str) or not isinstance(code, str):
        return False
    if status == 400:
        return code == EndpointPaused.code or any(words in text.lower() for words in _PAUSED)
    return code == _CODES[status] and said.get("reason", _NEVER_SENT) in _UNSENT


def pause_before(attempt: int, jitter: float) -> float:
    """Seconds between one question and the next: doubling, capped; `jitter` (0 to 1) spreads the upper half."""
    full: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 16))
    return full * (0.5 + 0.5 * jitter)


def _is_long(upstream: UpstreamConnection) -> bool:
    length = upstream.length
    return length is not None and (not length.isdigit() or int(length) > LONGEST_WORD)
