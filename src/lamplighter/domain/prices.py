"""What a price is in the book, which of several counts, which are absurd, and what was so when. Pure.

Moments are Unix time. Amounts are in US dollars, and exact: they come from decimal text, never through binary floats.
"""

from __future__ import annotations

import enum
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Final

from lamplighter.domain.hardware import Hardware
from lamplighter.domain.money import Quote, Unit, dollars, nanos

CONFIGURATION: Final = "configuration"
ROUTER: Final = "router"
LIST_PRICES: Final = "genai-prices"
SNAPSHOT: Final = "snapshot"
RESERVED: Final = frozenset({CONFIGURATION, ROUTER, LIST_PRICES, SNAPSHOT})
"""Words for sources that no provider's feed may go by."""

RULE: Final = "configuration before the provider's own feed, before the router, before list prices, before the snapshot"
"""Which of several prices of one thing counts."""

CURRENCY: Final = "USD"
MOST: Final = Decimal(1_000_000)
"""Dollars. Nothing here costs more an hour, or for a million tokens."""
JUMP: Final = 1000
"""A price that is more than so many times the last good one, or less than that part of it, is not believed."""

_AHEAD = 60.0
"""Seconds by which a clock may be corrected and moments only stand still for so long."""
_LEAST = Decimal(1) / 1_000_000_000
_LONGEST_SHOWN = 60
_MOST_DIGITS = 60
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?")


class Kind(enum.StrEnum):
    """What has a price: a size of hardware, a model at somebody who charges by the token, or an endpoint."""

    HARDWARE = "hardware"
    MODEL = "model"
    ENDPOINT = "endpoint"


class Rank(enum.IntEnum):
    """Who is believed before whom: the smaller one."""

    CONFIGURATION = 0
    PROVIDER = 1
    ROUTER = 2
    LIST = 3
    SNAPSHOT = 4


def rank(source: str) -> Rank:
    """How much a source counts; what is no word of ours is a provider's own feed."""
    if source.startswith(f"{SNAPSHOT} "):
        return Rank.SNAPSHOT
    words = {CONFIGURATION: Rank.CONFIGURATION, ROUTER: Rank.ROUTER, LIST_PRICES: Rank.LIST}
    return words.get(source, Rank.PROVIDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A quote as it stands in the book.

    `provider` is who charges: a vendor (`aws`), a provider of models (`novita`), or an endpoint's own provider.
    `estimate`: what is paid may differ, by what the source itself says or leaves open. `free`: told to cost nothing.
    """

    kind: Kind
    provider: str
    quote: Quote
    estimate: bool = False
    free: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two listings the same line: only their amounts and moments differ."""
        return self.kind.value, self.quote.subject, self.quote.unit.value, self.quote.source

    @property
    def thing(self) -> tuple[str, str, str]:
        """What is priced, whoever says so; hardware without its region, which not every source tells."""
        quote = self.quote
        if self.kind is not Kind.HARDWARE or not quote.region:
            return self.kind.value, quote.subject, quote.unit.value
        return self.kind.value, quote.subject.replace(f"-{quote.region}-", "-", 1), quote.unit.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a feed told of a price, before anybody has judged it.

    `amount` is whatever stood there: a Decimal, a whole number, or garbage. `per` is what it is for, a word of UNITS;
    `currency` a code of ISO 4217.
    """

    kind: Kind
    provider: str
    subject: str
    amount: object
    per: str
    currency: object = CURRENCY
    region: str = ""
    estimate: bool = False
    free: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A price that was told by `source`, and is kept out of the book. `value` is as it was told, cut."""

    source: str
    subject: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.value} {self.reason}"


UNITS: Mapping[str, tuple[Unit, Decimal]] = {
    "hour": (Unit.REPLICA_HOUR, Decimal(1)),
    "minute": (Unit.REPLICA_HOUR, Decimal(60)),
    "second": (Unit.REPLICA_HOUR, Decimal(3600)),
    "million_tokens_in": (Unit.MILLION_TOKENS_IN, Decimal(1)),
    "thousand_tokens_in": (Unit.MILLION_TOKENS_IN, Decimal(1000)),
    "token_in": (Unit.MILLION_TOKENS_IN, Decimal(1_000_000)),
    "million_tokens_out": (Unit.MILLION_TOKENS_OUT, Decimal(1)),
    "thousand_tokens_out": (Unit.MILLION_TOKENS_OUT, Decimal(1000)),
    "token_out": (Unit.MILLION_TOKENS_OUT, Decimal(1_000_000)),
    "image": (Unit.IMAGE, Decimal(1)),
    "request": (Unit.REQUEST, Decimal(1)),
    "thousand_requests": (Unit.REQUEST, Decimal(1) / 1000),
    "audio_minute": (Unit.AUDIO_MINUTE, Decimal(1)),
    "audio_hour": (Unit.AUDIO_MINUTE, Decimal(1) / 60),
    "audio_second": (Unit.AUDIO_MINUTE, Decimal(60)),
}
"""What a price may be for, and how many of that make one of ours."""


def hardware_subject(vendor: str, region: str, instance_type: str, instance_size: str) -> str:
    """The name of hardware in the book; without a region for a price that is told for all of them."""
    return "-".join(part for part in (vendor, region, instance_type, instance_size) if part)


def judged(told: Told, source: str, at: float, last: Decimal | None) -> Listing | Refusal:
    """The listing that this makes, or why it is none. `last` is the last good price of it that was not zero."""
    found = _judged(told, last)
    if isinstance(found, str):
        return Refusal(source=source, subject=told.subject, value=_shown(told.amount), reason=found)
    unit, amount = found
    quote = Quote(subject=told.subject, unit=unit, amount=amount, source=source, at=at, region=told.region)
    return Listing(kind=told.kind, provider=told.provider, quote=quote, estimate=told.estimate, free=told.free)


def _judged(told: Told, last: Decimal | None) -> tuple[Unit, Decimal] | str:
    if told.currency != CURRENCY:
        return f"is in {_shown(told.currency)}, and only {CURRENCY} is understood"
    if told.per not in UNITS:
        return f"is for {_shown(told.per)}, a unit that is not known"
    number = exact(told.amount)
    if number is None:
        return "is no number"
    unit, factor = UNITS[told.per]
    return _absurd(number, factor, told, last) or (unit, dollars(nanos(number * factor)))


def _absurd(number: Decimal, factor: Decimal, told: Told, last: Decimal | None) -> str | None:
    if number < 0:
        return "is less than nothing"
    if number == 0:
        return None if told.free else "is nothing, and is not said to be free"
    if number > MOST:
        return f"is more than ${MOST:,}"
    amount = number * factor
    if not _LEAST <= amount <= MOST:
        return f"comes to less than a billionth of a dollar or more than ${MOST:,}"
    return _leap(amount, last)


def _leap(amount: Decimal, last: Decimal | None) -> str | None:
    if last is None or last <= 0 or amount == 0:
        return None
    if amount > last * JUMP:
        return f"is more than {JUMP:,} times the last good one, ${money(last)}"
    return f"is less than 1/{JUMP:,} of the last good one, ${money(last)}" if amount * JUMP < last else None


def why_not_believed(quote: object, last: Decimal | None = None) -> str | None:
    """Why what somebody gave as a quote can be none; None for one that can be. $0 may be a promotion.

    `last` is the last good price of it that was not zero.
    """
    if not isinstance(quote, Quote) or not isinstance(quote.unit, Unit) or not isinstance(quote.subject, str):
        return "is no quote"
    if quote.currency != CURRENCY:
        return f"is in {_shown(quote.currency)}, and only {CURRENCY} is understood"
    if not isinstance(quote.amount, Decimal) or not quote.amount.is_finite():
        return f"{_shown(quote.amount)} is no exact number"
    if not 0 <= quote.amount <= MOST:
        return f"{_shown(quote.amount)} is not from $0 to ${MOST:,}"
    if not isinstance(quote.at, float | int) or not math.isfinite(quote.at):
        return "has no time"
    return _leap(quote.amount, last)


def told_of_hardware(one: Hardware) -> Told | None:
    """What a listing tells of the price of hardware; None where it tells none."""
    amount: object = one.price
    if amount is None and one.price_per_hour is not None:
        amount = Decimal(str(one.price_per_hour))  # the shortest text that means this number: what somebody wrote
    if amount is None:
        return None
    return Told(
        kind=Kind.HARDWARE,
        provider=one.vendor,
        subject=hardware_subject(one.vendor, one.region, one.instance_type, one.instance_size),
        amount=amount,
        per=one.price_unit,
        currency=one.price_currency,
        region=one.region,
    )


def exact(value: object) -> Decimal | None:
    """A finite number as a Decimal; None for anything else. A binary float is none: it is not what was written."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    if isinstance(value, str) and not (len(value) <= _MOST_DIGITS and _NUMBER.fullmatch(value.strip())):
        return None
    if isinstance(value, int) and value.bit_length() > 4 * _MOST_DIGITS:
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= _MOST_DIGITS else None


def money(amount: Decimal) -> str:
    """An amount as a plain decimal, with at least two figures behind the point."""
    text = f"{amount.normalize():f}"
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.ljust(2, '0')}"


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 4 * _MOST_DIGITS:
        return f"a number of more than {_MOST_DIGITS} digits"
    text = str(value) if isinstance(value, Decimal | str) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


# Which one counts.


def counting(listings: Iterable[Listing]) -> Listing | None:
    """The one that counts by RULE; of equals the one that names a region, then the newest."""
    return min(
        listings, key=lambda one: (rank(one.quote.source), not one.quote.region, -one.quote.at, one.key), default=None
    )


def disagree(listings: Iterable[Listing]) -> bool:
    """Whether several sources name different amounts for one thing."""
    return len({one.quote.amount for one in listings}) > 1


# What was so when.


@dataclass(frozen=True, slots=True)
class Change:
    """From the moment `at` on the price was `quote`; None: not known."""

    at: float
    quote: Quote | None


class PriceHistory:
    """The prices of one endpoint, in the order of time. Keeps at most `most` changes; the oldest are forgotten."""

    __slots__ = ("_changes", "_moments", "_most")

    def __init__(self, most: int = 10_000) -> None:
        self._moments: list[float] = []
        self._changes: list[Change] = []
        self._most = most

    @property
    def last(self) -> Change | None:
        """The newest change."""
        return self._changes[-1] if self._changes else None

    def add(self, quote: Quote | None, at: float) -> Change | None:
        """Note what it costs from `at` on; None where that is no change. A clock that went back does not reorder.

        What was noted for a moment that has not come yet, because the clock was ahead, is forgotten.
        """
        while self._moments and self._moments[-1] > at + _AHEAD:
            del self._moments[-1], self._changes[-1]
        last = self.last
        if last is None and quote is None:
            return None
        if last is not None and _same(last.quote, quote):
            return None
        at = at if last is None else max(at, last.at)
        change = Change(at, None if quote is None else replace(quote, at=at))
        self._moments.append(at)
        self._changes.append(change)
        if len(self._changes) > self._most:
            del self._changes[0], self._moments[0]
        return change

    def at(self, moment: float) -> Quote | None:
        """The price at a moment. Before the first one that is known, that one: its `at` tells."""
        if not self._changes:
            return None
        return self._changes[max(0, bisect_right(self._moments, moment) - 1)].quote

    def between(self, since: float, until: float) -> Sequence[Change]:
        """What it cost from `since` to `until`: the first change is at `since`, the others are where they were."""
        first = Change(since, self.at(since))
        begin, end = bisect_right(self._moments, since), bisect_right(self._moments, until)
        inside = [one for one in self._changes[max(begin, 1) : end] if one.at < until]
        return [first, *inside]


def _same(one: Quote | None, other: Quote | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.amount, one.source, one.region) == (other.amount, other.source, other.region)


# What the configuration says.


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a provider of one's own costs an hour: a GPU of a replica, else a CPU of it, else the replica."""

    amount: Decimal
    estimate: bool = False

    @classmethod
    def of_power(cls, watts: Decimal, per_kwh: Decimal) -> Rate:
        """What the power costs that is drawn. An estimate: nobody draws the same all the time."""
        return cls(amount=watts * per_kwh / 1000, estimate=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """What an upstream charges for a million tokens."""

    input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """The prices that the configuration names, in $.

    `endpoints` are per hour awake, all replicas together; `rates` are by a provider's name; `upstreams` are for a
    million tokens in and out. `published` are the names of providers for which the published snapshot holds.
    """

    endpoints: Mapping[str, Decimal] = field(default_factory=dict)
    rates: Mapping[str, Rate] = field(default_factory=dict)
    upstreams: Mapping[str, TokenRates] = field(default_factory=dict)
    published: frozenset[str] = frozenset()


# How feeds are.


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """How a feed of prices is. `checked_at`: when it last told what can be used; `failing_since`: None while it does.

    `left_out` counts what lacked a field that matters. `refused` are the absurd ones of the last answer.
    """

    source: str
    asks: str = ""
    checked_at: float | None = None
    asked_at: float | None = None
    next_at: float | None = None
    failing_since: float | None = None
    error: str | None = None
    listed: int = 0
    left_out: int = 0
    refused: Sequence[Refusal] = ()

    def age(self, now: float) -> float | None:
        """How old its prices are, in seconds; None where it never told any."""
        return None if self.checked_at is None else max(0.0, now - self.checked_at)


def scaled(amount: Decimal, count: float) -> Decimal:
    """An amount times a count that came as a number of the configuration, to the nanodollar."""
    return dollars(nanos(amount * Decimal(str(count))))


def names_of(refusals: Sequence[Refusal], most: int = 3) -> Iterator[str]:
    """The first few, for people, and how many more."""
    yield from (str(one) for one in refusals[:most])
    if len(refusals) > most:
        yield f"and {len(refusals) - most} more"
