"""From facts to dollars: what the hours of one endpoint cost, for what, and on whose account. Pure and exact.

Hours are closed one after the other; what one leaves to the next is `Carried`. Moments and lengths are microseconds,
prices nanodollars per replica and hour, and what is charged whole nanodollars: fractions are carried on, so that after
any number of hours the sum is the exact one, rounded down. docs/costs.md says the rules in words.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from lamplighter.domain.accounts import Account
from lamplighter.domain.endpoint import SERVING, STARTING, State
from lamplighter.domain.money import BillingRule
from lamplighter.domain.shares import divide
from lamplighter.domain.timeline import SECOND, Sighting, Standing, Stretch, follow, micros

AWAKE = STARTING | SERVING
"""The states in which an endpoint takes up what somebody pays for, unless its provider says otherwise."""

FRACTION = 3600 * SECOND
"""Sums are kept in fractions of a nanodollar: so many to one, a price per hour times microseconds."""

Prices: TypeAlias = Sequence[tuple[int, int | None]]
"""From which moment on a replica costs how much an hour; None: not known. Ascending; nothing is known before."""

Rules: TypeAlias = Mapping[str, BillingRule]
"""How each provider bills, by its name; one that is missing bills all awake states, exactly."""

Shares: TypeAlias = tuple[tuple[Account, int], ...]
"""Who is charged, and by what weight."""

EXACT = BillingRule(billed=AWAKE)
"""All awake states, to the microsecond."""


class Kind(enum.StrEnum):
    """What a charge is for. `BY_USE`: tokens of an upstream. `ALWAYS` is no charge: what staying awake would cost."""

    COLD_START = "cold_start"
    SERVING = "serving"
    IDLE = "idle"
    BY_USE = "by_use"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Used:
    """What one account's requests used that ended in one hour. `flight` sums the microseconds in flight.

    `nanos` is what was charged for them by use, in nanodollars.
    """

    flight: int
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    nanos: int = 0

    def plus(self, other: Used) -> Used:
        """Added up."""
        return Used(
            self.flight + other.flight,
            self.requests + other.requests,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.nanos + other.nanos,
        )


@dataclass(frozen=True, slots=True)
class Hour:
    """The facts of one hour, or of several in which there are none. `busy`: microseconds with a request in flight.

    `sightings` are those before `end` that were not counted yet; `upcoming` is the next one, where it is known.
    """

    begin: int
    end: int
    sightings: Sequence[Sighting] = ()
    upcoming: Sighting | None = None
    busy: int = 0
    used: Mapping[Account, Used] = field(default_factory=dict)


class Charge(NamedTuple):
    """What one account owes for one kind. `micros` are those of billed replicas; `unpriced` of them had no price."""

    kind: Kind
    provider: str
    account: Account
    estimated: bool = False
    nanos: int = 0
    micros: int = 0
    unpriced: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Period:
    """An awake period: from a billed state to one that is not.

    `warm` once it has run. `replicas` are those billed, as counts and how long each of them has been, the oldest first.
    `shares` are who used it in the last hour in which anybody did, and by how much. `cost` is what it came to so far,
    in fractions of a nanodollar.
    """

    began: int
    provider: str
    account: Account
    warm: bool = False
    replicas: tuple[tuple[int, int], ...] = ()
    shares: Shares = ()
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Carried:
    """What an hour leaves to the next. `rest` and `rest_always` are fractions of a nanodollar not charged yet."""

    standing: Standing = field(default_factory=Standing)
    period: Period | None = None
    rest: int = 0
    rest_always: int = 0


def close(carried: Carried, hour: Hour, prices: Prices, rules: Rules) -> tuple[list[Charge], Carried]:
    """Charge an hour. The charges are exact in sum; each kind's is off by less than two nanodollars."""
    stretches, standing = follow(carried.standing, hour.sightings, hour.end, hour.upcoming)
    book = _Book(prices, rules, carried.period)
    for stretch in stretches:
        book.add(stretch)
    shares = tuple((account, used.flight) for account, used in hour.used.items() if used.flight > 0)
    items = book.items(hour.busy, shares)
    nanos, rest = divmod(carried.rest + sum(item.cost for item in items), FRACTION)
    always, rest_always = divmod(carried.rest_always + book.always.cost, FRACTION)
    charges = _charged(items, nanos)
    if book.always.micros:
        item = book.always
        charges.append(Charge(Kind.ALWAYS, standing.provider, ("", ""), False, always, item.micros, item.unpriced))
    charges += _uses(hour.used, standing.provider)
    return charges, Carried(standing, book.carry(shares), rest, rest_always)


def cost_of(prices: Prices, begin: int, end: int, replicas: int) -> tuple[int, int]:
    """What so many replicas cost in a time, in fractions of a nanodollar; and how long no price was known."""
    cost = unpriced = 0
    for length, price in _priced(prices, begin, end):
        if price is None:
            unpriced += length
        else:
            cost += price * length
    return cost * replicas, unpriced * replicas


def rule_of(rules: Rules, provider: str) -> BillingRule:
    """How a provider bills."""
    return rules.get(provider, EXACT)


@dataclass(slots=True)
class _Sum:
    cost: int = 0
    micros: int = 0
    unpriced: int = 0
    length: int = 0  # not multiplied by the replicas

    def add(self, cost: int, micros: int, unpriced: int, length: int = 0) -> None:
        self.cost += cost
        self.micros += micros
        self.unpriced += unpriced
        self.length += length

    def part(self, numerator: int, denominator: int) -> _Sum:
        """So much of it, rounded down."""
        parts = (value * numerator // denominator for value in (self.cost, self.micros, self.unpriced, self.length))
        return _Sum(*parts)

    def less(self, other: _Sum) -> _Sum:
        return _Sum(self.cost - other.cost, self.micros - other.micros, self.unpriced - other.unpriced)


class _Item:
    """Something to be charged, and to whom by what weights."""

    __slots__ = ("cost", "estimated", "kind", "micros", "provider", "unpriced", "weights")

    def __init__(self, kind: Kind, provider: str, summed: _Sum, weights: Shares, *, estimated: bool) -> None:
        self.kind = kind
        self.provider = provider
        self.cost, self.micros, self.unpriced = summed.cost, summed.micros, summed.unpriced
        self.weights = weights
        self.estimated = estimated


class _PeriodInHour:
    """What one awake period costs in one hour. Changes in place: it is worked on for each stretch of every hour."""

    __slots__ = ("_cost", "_period", "_replicas", "_warm", "account", "provider", "rounding", "sums")

    def __init__(self, period: Period) -> None:
        self._period = period
        self.provider, self.account = period.provider, period.account
        self._warm = period.warm
        self._replicas = [list(some) for some in period.replicas]
        self._cost = period.cost
        self.sums: dict[tuple[bool, bool], _Sum] = {}  # by whether it ran, and whether that is an estimate
        self.rounding = _Sum()

    def add(self, stretch: Stretch, cost: int, unpriced: int) -> None:
        length = stretch.end - stretch.begin
        if stretch.state is State.RUNNING:
            self._warm = True
        which = (self._warm, stretch.estimated)
        summed = self.sums.get(which)
        if summed is None:
            summed = self.sums[which] = _Sum()
        summed.add(cost, length * stretch.replicas, unpriced, length)
        for some in self._replicas:
            some[1] += length
        self._cost += cost

    def resize(self, count: int, at: int, prices: Prices, rule: BillingRule) -> None:
        """So many replicas are billed from a moment on: the last to come are the first to go, each rounded up."""
        kept = self._replicas
        more = count - sum(some for some, _ in kept)
        if more > 0:
            kept.append([more, 0])
        while more < 0:
            some, billed = kept.pop()
            gone = min(some, -more)
            self._round_up(gone, billed, at, prices, rule)
            more += gone
            if gone < some:
                kept.append([some - gone, billed])

    def _round_up(self, count: int, billed: int, at: int, prices: Prices, rule: BillingRule) -> None:
        extra = _rounded_up(billed, rule) - billed
        if extra:
            price = _price_at(prices, at)
            cost = 0 if price is None else price * extra * count
            self.rounding.add(cost, extra * count, extra * count if price is None else 0)
            self._cost += cost

    def running(self) -> int:
        """How long it ran in this hour, as far as that was seen."""
        summed = self.sums.get((True, False))
        return summed.length if summed else 0

    def items(self, busy: int, running: int, shares: Shares) -> Iterator[_Item]:
        """What is to be charged: of the time that it ran `busy` out of `running` was serving."""
        provider = self.provider
        cause = ((self.account, 1),)
        users = shares or self._period.shares or cause
        for (warm, estimated), summed in self.sums.items():
            if not warm:
                yield _Item(Kind.COLD_START, provider, summed, cause, estimated=estimated)
            elif estimated or not busy:
                yield _Item(Kind.IDLE, provider, summed, users, estimated=estimated)
            else:
                serving = summed.part(busy, running)
                yield _Item(Kind.SERVING, provider, serving, users, estimated=False)
                yield _Item(Kind.IDLE, provider, summed.less(serving), users, estimated=False)
        if self.rounding.micros:
            yield _Item(Kind.IDLE, provider, self.rounding, users, estimated=False)

    def carry(self, shares: Shares) -> Period:
        """As it goes on in the next hour."""
        before = self._period
        replicas = tuple((count, billed) for count, billed in self._replicas)
        return Period(
            before.began, self.provider, self.account, self._warm, replicas, shares or before.shares, self._cost
        )


class _Book:
    """Adds up the stretches of one hour by awake periods."""

    def __init__(self, prices: Prices, rules: Rules, period: Period | None) -> None:
        self._prices = prices
        self._rules = rules
        self._periods = [_PeriodInHour(period)] if period else []
        self._open = bool(period)
        self.always = _Sum()

    def add(self, stretch: Stretch) -> None:
        if stretch.state is None:
            self._end(stretch.begin)
            return
        rule = rule_of(self._rules, stretch.provider)
        cost, unpriced = cost_of(self._prices, stretch.begin, stretch.end, stretch.replicas)
        self.always.add(cost, (stretch.end - stretch.begin) * stretch.replicas, unpriced)
        if self._open and stretch.provider != self._periods[-1].provider:
            self._end(stretch.begin)
        if stretch.state not in rule.billed:
            self._end(stretch.begin)
            return
        if stretch.begin == stretch.end:
            return  # no replica's time: nothing to bill, and so no minimum
        if not self._open:
            account = (stretch.cause, stretch.route)
            self._periods.append(_PeriodInHour(Period(stretch.begin, stretch.provider, account)))
            self._open = True
        now = self._periods[-1]
        now.resize(stretch.replicas, stretch.begin, self._prices, rule)
        now.add(stretch, cost, unpriced)

    def _end(self, at: int) -> None:
        if self._open:
            last = self._periods[-1]
            last.resize(0, at, self._prices, rule_of(self._rules, last.provider))
            self._open = False

    def items(self, busy: int, shares: Shares) -> list[_Item]:
        running = sum(period.running() for period in self._periods)
        busy = min(busy, running)
        return [item for period in self._periods for item in period.items(busy, running, shares)]

    def carry(self, shares: Shares) -> Period | None:
        return self._periods[-1].carry(shares) if self._open else None


def _charged(items: Sequence[_Item], nanos: int) -> list[Charge]:
    """Divide an hour's nanodollars among what they are for, and those among who is charged."""
    amounts = divide(nanos, [item.cost for item in items]) if nanos else [0] * len(items)
    charges: list[Charge] = []
    for item, amount in zip(items, amounts, strict=True):
        if not (amount or item.micros):
            continue
        kind, provider, estimated, shared = item.kind, item.provider, item.estimated, item.weights
        if len(shared) == 1:
            charges.append(Charge(kind, provider, shared[0][0], estimated, amount, item.micros, item.unpriced))
        else:
            weights = [weight for _, weight in shared]
            parts = (divide(whole, weights) for whole in (amount, item.micros, item.unpriced))
            charges += [
                Charge(kind, provider, account, estimated, *part)
                for (account, _), *part in zip(shared, *parts, strict=True)
            ]
    return charges


def _uses(used: Mapping[Account, Used], provider: str) -> Iterator[Charge]:
    """Requests and tokens, with the serving that they belong to."""
    for account, one in used.items():
        if one.nanos:
            yield Charge(Kind.BY_USE, provider, account, nanos=one.nanos)
        yield Charge(
            Kind.SERVING,
            provider,
            account,
            requests=one.requests,
            tokens_in=one.tokens_in,
            tokens_out=one.tokens_out,
        )


def _priced(prices: Prices, begin: int, end: int) -> Iterator[tuple[int, int | None]]:
    """Cut a time where the price changes: how long, and at which price."""
    index = _behind(prices, begin)
    price = prices[index - 1][1] if index else None
    while index < len(prices) and prices[index][0] < end:
        at, after = prices[index]
        yield at - begin, price
        begin, price, index = at, after, index + 1
    if end > begin:
        yield end - begin, price


def _price_at(prices: Prices, moment: int) -> int | None:
    index = _behind(prices, moment)
    return prices[index - 1][1] if index else None


def _behind(prices: Prices, moment: int) -> int:
    """The first price that holds only after this moment."""
    return bisect_right(prices, moment, key=itemgetter(0))


def _rounded_up(billed: int, rule: BillingRule) -> int:
    step, least = micros(rule.step), micros(rule.minimum)
    billed = max(billed, least)
    return -(-billed // step) * step if step else billed


def total(charges: Iterable[Charge]) -> int:
    """What is to be paid, in nanodollars: all but what staying awake would have cost."""
    return sum(charge.nanos for charge in charges if charge.kind is not Kind.ALWAYS)
