"""Rent or wake: whether a request is cheaper at an upstream that charges by the token than by waking an endpoint. Pure.

The rule is that of ski rental: rent until the rent would exceed what a wake costs, then wake. Nobody knows how many
more requests will come, and no rule that does not know it can promise less than twice the cost of the best choice in
hindsight: who wakes at once pays a whole wake for a single request, who rents for ever pays without end. Under this
rule a wake was always preceded by about its own cost in rent, and whoever knew better would have paid at least one of
the two.

What was rented is forgotten within about an hour (MEMORY), so that what was spent last week wakes nothing today. That
costs a little: with a wake that lasts D seconds, start and tail together, the bound is 2 + D / MEMORY times the best.
Longer than that an endpoint is awake only while it is used; what that costs is the idle timeout's affair.

`choose: cheapest` asks something else at every request: where it is expected to cost least now, by how many came of
late. See `cost_asleep` and `cost_awake`.

Amounts are in $, durations in seconds, moments monotonic.
"""

from __future__ import annotations

from math import exp, inf

from lamplighter.domain.routing import TokenPrice

MEMORY = 3600.0
"""After this long a rent counts for 1/e of itself."""

_PER_MILLION = 1e-6


def cost_of_wake(price_per_hour: float, *, start: float, tail: float | None) -> float:
    """What a wake costs at least: the expected start, and the time billed after the last request.

    `tail` is the idle timeout, or the least that the provider bills if that is longer; None: never put to sleep, so
    that a wake costs without end.
    """
    return inf if tail is None else price_per_hour * (start + tail) / 3600.0


def cost_of_tokens(price: TokenPrice, *, tokens_in: int, tokens_out: int) -> float:
    """What an upstream charges for a request of so many tokens, known or estimated."""
    return (price.input * tokens_in + price.output * tokens_out) * _PER_MILLION


def cheaper_to_rent(*, wake: float, spent: float, request: float) -> bool:
    """Whether a request goes to the rented upstream, and wakes nothing.

    `wake` is the cost of a wake, `spent` what was rented of late in place of it, `request` what this one would cost.
    """
    return spent + request <= wake


def cost_asleep(wake: float, *, lasts: float, rate: float) -> float:
    """What a request is expected to cost at an endpoint that sleeps ($).

    The least that a `wake` costs, shared with those that are expected in the time it `lasts` (seconds), at so many a
    second.
    """
    return wake / (1.0 + rate * lasts)


def cost_awake(price_per_hour: float, *, idle_for: float, asleep: float) -> float:
    """What a request is expected to cost at an endpoint that is awake ($).

    Only what its sleep is put off by: the time since it was last used, nothing while it is in use. That is never more
    than what the request would cost if the endpoint were `asleep`, so that being awake never counts against it: where a
    wake pays, so does going on.
    """
    return min(price_per_hour * max(0.0, idle_for) / 3600.0, asleep)


class Arrivals:
    """How many requests came of late, and how long their answers were."""

    __slots__ = ("_answers", "_at", "_count", "_tokens")

    def __init__(self) -> None:
        self._at = -inf
        self._count = self._answers = self._tokens = 0.0

    def come(self, now: float) -> None:
        """Note that a request came."""
        self._forget(now)
        self._count += 1.0

    def rate(self, now: float) -> float:
        """Requests a second, of about the last hour."""
        return self._count * exp(min(self._at - now, 0.0) / MEMORY) / MEMORY

    def answered(self, tokens_out: int, now: float) -> None:
        """Note how long an answer was."""
        self._forget(now)
        self._answers += 1.0
        self._tokens += tokens_out

    @property
    def tokens_out(self) -> float | None:
        """How long answers were of late, on average; None where none has told."""
        return self._tokens / self._answers if self._answers > 0.0 else None

    def _forget(self, now: float) -> None:
        left = exp(min(self._at - now, 0.0) / MEMORY)
        self._count, self._answers, self._tokens = self._count * left, self._answers * left, self._tokens * left
        self._at = max(self._at, now)


class Rent:
    """What was spent of late at an upstream while an endpoint slept."""

    __slots__ = ("_at", "_sum")

    def __init__(self) -> None:
        self._sum = 0.0
        self._at = -inf

    def add(self, dollars: float, now: float) -> None:
        """Note what a request cost, once it is known."""
        self._sum = self.spent(now) + dollars
        self._at = max(self._at, now)

    def spent(self, now: float) -> float:
        """The rent of about the last hour."""
        return self._sum * exp(min(self._at - now, 0.0) / MEMORY)

    def settle(self) -> None:
        """Forget it: the endpoint is woken, and the account begins anew."""
        self._sum = 0.0
