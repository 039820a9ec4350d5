"""From facts to dollars: what the hours of one endpoint cost, for what, and on whose account. Pure and exact.

Hours are closed one after the other; what one leaves to the next is `Carried`. Moments and lengths are microseconds,
prices nanodollars per replica and hour, and what is charged whole nanodollars: fractions are carried on, so that after
any number of hours the sum is the exact one, rounded down. docs/costs.md says the rules in words.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

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

EXACT = BillingRule(billed=AWAKE)
"""All awake states, to the microsecond."""


class Kind(enum.StrEnum):
    """What a charge is for. `ALWAYS` is no charge: what staying awake would have cost."""

    COLD_START = "cold_start"
    SERVING = "serving"
    IDLE = "idle"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Used:
    """What one account's requests used that ended in one hour. `flight` sums the microseconds in flight."""

    flight: int
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def plus(self, other: Used) -> Used:
        """Added up."""
        return Used(
            self.flight + other.flight,
            self.requests + other.requests,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
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


@dataclass(frozen=True, slots=True)
class Charge:
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
    shares: tuple[tuple[Account, int], ...] = ()
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

    def __init__(
        self, kind: Kind, period: Period, summed: _Sum, weights: Sequence[tuple[Account, int]], *, estimated: bool
    ) -> None:
        self.kind = kind
        self.provider = period.provider
        self.cost, self.micros, self.unpriced = summed.cost, summed.micros, summed.unpriced
        self.weights = weights
        self.estimated = estimated


class _PeriodInHour:
    """What one awake period costs in one hour."""

    def __init__(self, period: Period) -> None:
        self.period = period
        self.sums: dict[tuple[bool, bool], _Sum] = {}  # by whether it ran, and whether that is an estimate
        self.rounding = _Sum()

    def add(self, stretch: Stretch, cost: int, unpriced: int) -> None:
        length = stretch.end - stretch.begin
        period = self.period
        warm = period.warm or stretch.state is State.RUNNING
        summed = self.sums.setdefault((warm, stretch.estimated), _Sum())
        summed.add(cost, length * stretch.replicas, unpriced, length)
        replicas = tuple((count, billed + length) for count, billed in period.replicas)
        self.period = dataclasses.replace(period, warm=warm, replicas=replicas, cost=period.cost + cost)

    def resize(self, count: int, at: int, prices: Prices, rule: BillingRule) -> None:
        """So many replicas are billed from a moment on: the last to come are the first to go, each rounded up."""
        kept = list(self.period.replicas)
        more = count - sum(some for some, _ in kept)
        if more > 0:
            kept.append((more, 0))
        while more < 0:
            some, billed = kept.pop()
            gone = min(some, -more)
            self._round_up(gone, billed, at, prices, rule)
            more += gone
            if gone < some:
                kept.append((some - gone, billed))
        self.period = dataclasses.replace(self.period, replicas=tuple(kept))

    def _round_up(self, count: int, billed: int, at: int, prices: Prices, rule: BillingRule) -> None:
        extra = _rounded_up(billed, rule) - billed
        if extra:
            price = _price_at(prices, at)
            cost = 0 if price is None else price * extra * count
            self.rounding.add(cost, extra * count, extra * count if price is None else 0)
            self.period = dataclasses.replace(self.period, cost=self.period.cost + cost)

    def running(self) -> int:
        """How long it ran in this hour, as far as that was seen."""
        summed = self.sums.get((True, False))
        return summed.length if summed else 0

    def items(self, busy: int, running: int, shares: tuple[tuple[Account, int], ...]) -> Iterator[_Item]:
        """What is to be charged: of the time that it ran `busy` out of `running` was serving."""
        period = self.period
        cause = ((period.account, 1),)
        users = shares or period.shares or cause
        for (warm, estimated), summed in self.sums.items():
            if not warm:
                yield _Item(Kind.COLD_START, period, summed, cause, estimated=estimated)
            elif estimated:
                yield _Item(Kind.IDLE, period, summed, users, estimated=True)
            else:
                serving = summed.part(busy, running) if busy else _Sum()
                yield _Item(Kind.SERVING, period, serving, users, estimated=False)
                yield _Item(Kind.IDLE, period, summed.less(serving), users, estimated=False)
        if self.rounding.micros:
            yield _Item(Kind.IDLE, period, self.rounding, users, estimated=False)


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
        if self._open and stretch.provider != self._periods[-1].period.provider:
            self._end(stretch.begin)
        if stretch.state not in rule.billed:
            self._end(stretch.begin)
            return
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
            last.resize(0, at, self._prices, rule_of(self._rules, last.period.provider))
            self._open = False

    def items(self, busy: int, shares: tuple[tuple[Account, int], ...]) -> list[_Item]:
        running = sum(period.running() for period in self._periods)
        busy = min(busy, running)
        return [item for period in self._periods for item in period.items(busy, running, shares)]

    def carry(self, shares: tuple[tuple[Account, int], ...]) -> Period | None:
        if not self._open:
            return None
        period = self._periods[-1].period
        return dataclasses.replace(period, shares=shares) if shares else period


def _charged(items: Sequence[_Item], nanos: int) -> list[Charge]:
    """Divide an hour's nanodollars among what they are for, and those among who is charged."""
    amounts = divide(nanos, [item.cost for item in items]) if nanos else [0] * len(items)
    charges = []
    for item, amount in zip(items, amounts, strict=True):
        if not item.micros:
            continue
        weights = [weight for _, weight in item.weights]
        parts = zip(divide(amount, weights), divide(item.micros, weights), divide(item.unpriced, weights), strict=True)
        charges += [
            Charge(item.kind, item.provider, account, item.estimated, *part)
            for (account, _), part in zip(item.weights, parts, strict=True)
        ]
    return charges


def _uses(used: Mapping[Account, Used], provider: str) -> Iterator[Charge]:
    """Requests and tokens, with the serving that they belong to."""
    for account, one in used.items():
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
    price = _price_at(prices, begin)
    for at, after in prices:
        if begin < at < end:
            yield at - begin, price
            begin = at
        if at <= begin:
            price = after
    if end > begin:
        yield end - begin, price


def _price_at(prices: Prices, moment: int) -> int | None:
    found = None
    for at, price in prices:
        if at > moment:
            break
        found = price
    return found


def _rounded_up(billed: int, rule: BillingRule) -> int:
    step, least = micros(rule.step), micros(rule.minimum)
    billed = max(billed, least)
    return -(-billed // step) * step if step else billed


def total(charges: Iterable[Charge]) -> int:
    """What is to be paid, in nanodollars: all but what staying awake would have cost."""
    return sum(charge.nanos for charge in charges if charge.kind is not Kind.ALWAYS)
