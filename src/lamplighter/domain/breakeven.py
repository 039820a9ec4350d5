"""What the same requests would have cost elsewhere, and at how many a day that changes. Pure.

By the token it is exact: tokens times prices. On hardware it is an estimate: requests are played again as they came,
each keeps the replica awake until the idle timeout is over, and each wake begins with a start. Of a wake that is

    seconds awake = seconds busy + sum of min(gap, idle timeout) + wakes x start

with a wake at the first request and after each gap that is longer than the idle timeout. What a provider rounds up is
not in it.

The break-even is the pace at which both cost the same. The same requests come in the same order, `pace` times as
often: every gap is divided by it. What the tokens cost stays, and the seconds awake become fewer. Below that pace the
tokens are cheaper, above it the hardware.

Durations are in seconds, moments Unix time.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate, pairwise

from lamplighter.domain.money import Quote, Unit

DAY = 86400.0

_MICRO = Decimal("0.000001")
_NANO = Decimal("0.000000001")
_HOUR = Decimal(3600)
_MILLION = Decimal(1_000_000)
_SLOWEST, _FASTEST = 1e-6, 1e9
_STEPS = 80
_IMAGE_TASKS = frozenset({"text-to-image", "image-to-image"})


class Pattern:
    """When requests kept a model busy: spells from the beginning of a request to its end, in a window of some seconds.

    Spells that touch are one. Any number of paces can be tried: each takes one look into the sorted gaps.
    """

    __slots__ = ("_gaps", "_sums", "busy", "window")

    def __init__(self, spells: Iterable[tuple[float, float]], window: float) -> None:
        merged: list[tuple[float, float]] = []
        for begin, end in sorted(spells):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((begin, max(begin, end)))
        self.busy = sum(end - begin for begin, end in merged)
        self.window = max(window, self.busy)
        self._gaps = sorted(after[0] - before[1] for before, after in pairwise(merged))
        self._sums = [0.0, *accumulate(self._gaps)]

    def wakes(self, idle_timeout: float | None, pace: float = 1.0) -> int:
        """How often it would have been woken."""
        if idle_timeout is None:
            return 1
        return 1 + len(self._gaps) - bisect_right(self._gaps, idle_timeout * pace)

    def awake(self, idle_timeout: float | None, start: float, pace: float = 1.0) -> float:
        """How many seconds it would have been awake. `idle_timeout` None: all the time."""
        if idle_timeout is None:
            return max(self.window / pace, self.busy)
        short = bisect_right(self._gaps, idle_timeout * pace)
        long = len(self._gaps) - short
        idle = self._sums[short] / pace + (long + 1) * idle_timeout
        return self.busy + idle + (long + 1) * start


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of a model from `since` to `until`. `told` of the requests told their tokens."""

    since: float
    until: float
    requests: int = 0
    told: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def per_day(self) -> Decimal:
        """Requests a day; what lasted less than a day counts as one."""
        days = max(1.0, (self.until - self.since) / DAY)
        return (Decimal(self.requests) / Decimal(repr(days))).quantize(Decimal("0.01"))


class Basis(enum.StrEnum):
    """How an amount was found: charged by the ledger, exact from tokens, only a part of the requests, or estimated."""

    LEDGER = "ledger"
    EXACT = "exact"
    AT_LEAST = "at least"
    ESTIMATE = "estimate"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Amount:
    """$, how that was found, and what is to be said of it. None: it can't be, and `why` says why not."""

    dollars: Decimal | None
    basis: Basis
    why: str = ""


def by_use(asked: Asked, quotes: Sequence[Quote], *, task: str | None = None, is_free: bool = False) -> Amount:
    """What the requests would have cost where one pays for what one uses."""
    prices = {quote.unit: quote.amount for quote in reversed(quotes)}
    if is_free and not prices:
        return Amount(Decimal(0), Basis.EXACT, "nothing is asked for it at present")
    if not prices:
        return Amount(None, Basis.UNKNOWN, "no price known")
    if Unit.REQUEST in prices:
        return Amount((prices[Unit.REQUEST] * asked.requests).quantize(_NANO), Basis.EXACT)
    if Unit.IMAGE in prices and task in _IMAGE_TASKS:
        cost = (prices[Unit.IMAGE] * asked.requests).quantize(_NANO)
        return Amount(cost, Basis.ESTIMATE, "an image a request is assumed")
    if Unit.MILLION_TOKENS_IN not in prices or Unit.MILLION_TOKENS_OUT not in prices:
        known = ", ".join(sorted(prices))
        return Amount(None, Basis.UNKNOWN, f"only a price for {known} is known, and that is not measured")
    if not asked.told:
        return Amount(None, Basis.UNKNOWN, "no tokens measured")
    parts = (
        prices[Unit.MILLION_TOKENS_IN] * asked.tokens_in,
        prices[Unit.MILLION_TOKENS_OUT] * asked.tokens_out,
    )
    cost = (sum(parts, Decimal(0)) / _MILLION).quantize(_NANO, ROUND_HALF_EVEN)
    if asked.told < asked.requests:
        untold = asked.requests - asked.told
        return Amount(cost, Basis.AT_LEAST, f"{untold} of {asked.requests} requests told no tokens and are not in it")
    return Amount(cost, Basis.EXACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms hardware runs: $ an hour of all replicas, seconds idle before it sleeps (None: never), of a start.

    `replicas` are so many as `per_hour` pays. `start` None: never measured; nothing is counted for it then.
    """

    per_hour: Decimal
    idle_timeout: float | None
    start: float | None = None
    replicas: int = 1

    def cost(self, pattern: Pattern, pace: float = 1.0) -> Decimal:
        """What the requests come to at a pace."""
        return self.of_seconds(pattern.awake(self.idle_timeout, self.start or 0.0, pace))

    def of_seconds(self, seconds: float) -> Decimal:
        """What so much time awake comes to."""
        return (self.per_hour * Decimal(repr(seconds)).quantize(_MICRO) / _HOUR).quantize(_NANO, ROUND_HALF_EVEN)


def by_the_hour(pattern: Pattern, terms: Terms) -> Amount:
    """What the requests would have cost on hardware."""
    why = "" if terms.start is not None else "its start was never measured and is not counted"
    return Amount(terms.cost(pattern), Basis.ESTIMATE, why)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """From how many requests a day on `hardware` is cheaper than `rented`. None: at no pace, or not known; see `why`.

    Amounts are those of the same requests, at their own pace.
    """

    hardware: str
    rented: str
    per_day: Decimal | None
    why: str = ""


def break_even(pattern: Pattern, asked: Asked, terms: Terms, *, rent: Decimal, hardware: str, rented: str) -> BreakEven:
    """Find the pace at which the hardware costs what the tokens do.

    From less than a day of requests it is not told how many come in one: night and day differ too much for that.
    """
    if terms.cost(pattern, _FASTEST) > rent:
        why = f"even busy without a break {hardware} costs more than {rented}"
        return BreakEven(hardware=hardware, rented=rented, per_day=None, why=why)
    if terms.cost(pattern, _SLOWEST) <= rent:
        why = f"even woken for every single request {hardware} costs less than {rented}"
        return BreakEven(hardware=hardware, rented=rented, per_day=Decimal(0), why=why)
    if asked.until - asked.since < DAY:
        why = "the requests of a whole day at least are needed to tell how many come in one"
        return BreakEven(hardware=hardware, rented=rented, per_day=None, why=why)
    slow, fast = _SLOWEST, _FASTEST
    for _ in range(_STEPS):
        middle = (slow * fast) ** 0.5
        if terms.cost(pattern, middle) > rent:
            slow = middle
        else:
            fast = middle
    per_day = (asked.per_day * Decimal(repr(fast))).quantize(Decimal("0.01"))
    return BreakEven(hardware=hardware, rented=rented, per_day=per_day)


@dataclass(frozen=True, slots=True)
class Paid:
    """What was paid, and for what ($). `rented` went to upstreams, by the tokens; None: that is not known."""

    cold_start: Decimal = Decimal(0)
    serving: Decimal = Decimal(0)
    idle: Decimal = Decimal(0)
    rented: Decimal | None = Decimal(0)

    @property
    def total(self) -> Decimal:
        """All of it, as far as it is known."""
        return self.cold_start + self.serving + self.idle + (self.rented or Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One way of having had the same requests answered: where, and what it comes to. `is_own`: as it was."""

    name: str
    amount: Amount
    is_own: bool = False


def recommendation(subject: str, asked: Asked, compared: Sequence[Compared], found: BreakEven | None) -> str:
    """What to do, in one sentence."""
    if not asked.requests:
        return f"Nothing was asked of {subject} in this time: send it requests, and ask again."
    own = next((one for one in compared if one.is_own), None)
    elsewhere = [one for one in compared if not one.is_own and one.amount.dollars is not None]
    if not elsewhere:
        return f"Stay with {subject}: what the same requests would cost is known of no other offer."
    best = min(elsewhere, key=lambda one: one.amount.dollars or Decimal(0))
    paid = own.amount.dollars if own is not None else None
    if paid is None:
        return f"Of what is known {best.name} is the cheapest, at {_said(best.amount)}; what was paid is not known."
    assert best.amount.dollars is not None
    if best.amount.dollars >= paid:
        return f"Stay with {subject}: it cost {_dollars(paid)}, and {best.name}, the next, {_said(best.amount)}."
    share = (paid - best.amount.dollars) / paid * 100
    text = f"{best.name} would have cost {_said(best.amount)} instead of {_dollars(paid)}, {share:.0f} % less"
    return f"{text}{_until(asked, found, best.name)}."


def _until(asked: Asked, found: BreakEven | None, best: str) -> str:
    if found is None or found.rented != best or not found.per_day or found.per_day <= asked.per_day:
        return ""
    return f", up to about {found.per_day:,.0f} requests a day; there were {asked.per_day.normalize():f}"


def _said(amount: Amount) -> str:
    assert amount.dollars is not None
    words = {Basis.ESTIMATE: "about ", Basis.AT_LEAST: "at least "}
    return words.get(amount.basis, "") + _dollars(amount.dollars)


def _dollars(amount: Decimal) -> str:
    """Two figures behind the point, or as many as it takes to show two of a small amount."""
    if amount >= Decimal("0.1") or not amount:
        return f"${amount:.2f}"
    return f"${amount:.{min(9, 1 - amount.adjusted())}f}"
