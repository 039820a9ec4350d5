"""Budgets: how much may be spent in a day, week or month, and whether a wake still fits. Pure.

docs/budgets.md says the rules in words. Sums are whole nanodollars; days are those of the ledger's calendar.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import State
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.money import BillingRule, dollars, nanos

EACH = "*"
"""In place of a name: each endpoint, key or value of a tag has the budget for itself."""

LEVELS = (50, 80, 100)
"""At how many percent of a budget people are told."""

_HOUR = 3600


class Period(enum.StrEnum):
    """How long a budget lasts. Weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Scope(enum.StrEnum):
    """Whose spending counts: everybody's, that of an endpoint, of a key, or of the keys with a tag."""

    ALL = "all"
    ENDPOINT = "endpoint"
    KEY = "key"
    TAG = "tag"


class AtLimit(enum.StrEnum):
    """What becomes of what is awake once a budget is spent; nothing is woken in any case.

    `idle`: asleep as soon as nothing is in flight and nothing waits. `drain`: no request is let in either; what is in
    flight ends. `cut`: asleep at once.
    """

    IDLE = "idle"
    DRAIN = "drain"
    CUT = "cut"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most `limit` $ in each `period`. `member` is the name of whose spending counts, or EACH; of a tag its value.

    `tag` is the name of the tag where the scope is one.
    """

    name: str
    limit: Decimal
    period: Period
    scope: Scope = Scope.ALL
    member: str = ""
    tag: str = ""
    at_limit: AtLimit = AtLimit.IDLE

    def is_exceeded(self, spent: int, reserved: int, least: int) -> bool:
        """Whether it is spent, or a cost of `least` does not fit any more; all in nanodollars."""
        limit = nanos(self.limit)
        return spent >= limit or spent + reserved + least > limit

    def whose(self, member: str) -> str:
        """For people, of a member: `endpoint chat`, `key web`, `tag team=research`, `all`."""
        if self.scope is Scope.ALL:
            return "all"
        return f"tag {self.tag}={member}" if self.scope is Scope.TAG else f"{self.scope} {member}"

    def member_of(self, endpoint: str, key: ApiKey | None) -> str | None:
        """Under which member a spending at an endpoint on a key's account falls; None where it does not count."""
        match self.scope:
            case Scope.ALL:
                return ""
            case Scope.ENDPOINT:
                found: str | None = endpoint.partition("/")[0]  # what is elsewhere is one, whoever answers there
            case Scope.KEY:
                found = key.name if key is not None else None
            case Scope.TAG:
                found = key.tags.get(self.tag) if key is not None else None
        return found if found is not None and self.member in {EACH, found} else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a budget is used now. `member` is whose it is; `begins_at` and `renews_at` are Unix time.

    `reserved` is set aside for wakes that were let through and have not cost it yet. `unpriced` are endpoints under it
    whose price nobody knows: what they cost is not counted. `missing`: there is no endpoint or key of that name now.
    """

    budget: Budget
    member: str
    spent: Decimal
    reserved: Decimal
    begins_at: int
    renews_at: int
    unpriced: Sequence[str] = ()
    missing: bool = False

    @property
    def left(self) -> Decimal:
        """What may still be spent; 0 at least."""
        return max(Decimal(0), self.budget.limit - self.spent - self.reserved)

    @property
    def share(self) -> float:
        """How much of it is spent: 1.0 is all of it."""
        return float(self.spent / self.budget.limit)

    @property
    def is_spent(self) -> bool:
        """Whether the limit is reached."""
        return self.spent >= self.budget.limit

    @property
    def level(self) -> int:
        """The highest of LEVELS that is reached; 0 for none."""
        return max((level for level in LEVELS if self.spent * 100 >= self.budget.limit * level), default=0)

    @property
    def whose(self) -> str:
        """Whose spending it is, for people."""
        return self.budget.whose(self.member)

    @property
    def name(self) -> str:
        """The budget's name, and whose part of it this is where each has one."""
        return f"{self.budget.name} ({self.member})" if self.budget.member == EACH else self.budget.name


def period_of(period: Period, at: int, calendar: Calendar) -> tuple[int, int]:
    """When the period began that holds a moment, and when the next one begins. Unix time."""
    day = calendar.day_of(at)
    first = _first_day(period, day)
    return calendar.begin_of(first), calendar.begin_of(_next_first_day(period, first))


def first_day_of(period: Period, at: int, calendar: Calendar) -> date:
    """The first day of the period that holds a moment."""
    return _first_day(period, calendar.day_of(at))


def _first_day(period: Period, day: date) -> date:
    match period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)


def _next_first_day(period: Period, first: date) -> date:
    match period:
        case Period.DAY:
            return first + timedelta(days=1)
        case Period.WEEK:
            return first + timedelta(days=7)
        case Period.MONTH:
            return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def least_cost(price: Decimal | None, replicas: int, rule: BillingRule, start: float | None) -> int:
    """What a wake costs at least, in nanodollars: the expected start, as far as it is billed, and what rounding adds.

    `price` is $ per replica and hour; None, not known, costs nothing that could be counted. `start` is how long a start
    is expected to take (seconds), where that is known.
    """
    if price is None:
        return 0
    billed = start if start is not None and State.INITIALIZING in rule.billed else 0.0
    billed = max(billed, rule.minimum)
    if rule.step:
        billed = max(1, -(-billed // rule.step)) * rule.step
    return nanos(price * replicas * Decimal(str(billed)) / _HOUR)


@dataclass(slots=True)
class Sums:
    """What was spent under each budget: nanodollars by the budget's name and the member."""

    spent: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, budgets: Sequence[Budget], endpoint: str, key: ApiKey | None, amount: int) -> None:
        """Count an amount that was spent at an endpoint on a key's account."""
        for budget in budgets:
            member = budget.member_of(endpoint, key)
            if member is not None:
                spot = budget.name, member
                self.spent[spot] = self.spent.get(spot, 0) + amount

    def plus(self, other: Sums, factor: int) -> None:
        """Count other sums, so many times."""
        for spot, amount in other.spent.items():
            self.spent[spot] = self.spent.get(spot, 0) + factor * amount

    def of(self, budget: Budget, member: str) -> int:
        """What one of them has spent."""
        return self.spent.get((budget.name, member), 0)

    def members(self, budget: Budget) -> Iterator[str]:
        """Who has spent anything of a budget, sorted."""
        yield from sorted(member for name, member in self.spent if name == budget.name)


def standing(
    budget: Budget,
    member: str,
    *,
    spent: int,
    reserved: int,
    now: int,
    calendar: Calendar,
    unpriced: Sequence[str] = (),
    missing: bool = False,
) -> Standing:
    """Put together how a budget is used; `spent` and `reserved` in nanodollars."""
    begins_at, renews_at = period_of(budget.period, now, calendar)
    return Standing(
        budget=budget,
        member=member,
        spent=dollars(spent),
        reserved=dollars(reserved),
        begins_at=begins_at,
        renews_at=renews_at,
        unpriced=tuple(unpriced),
        missing=missing,
    )
