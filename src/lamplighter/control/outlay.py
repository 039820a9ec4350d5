"""What was spent under budgets: the ledger's sums, what has grown since, and what is set aside for wakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamplighter.control.accruals import Accrued
from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostQuery, CostReport, Dimension
from lamplighter.domain.accounts import KEY, OPERATOR
from lamplighter.domain.budgets import (
    EACH,
    Budget,
    Period,
    Scope,
    Standing,
    Sums,
    first_day_of,
    least_cost,
    period_of,
    standing,
)
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Spec
from lamplighter.domain.keys import ApiKey, by_name
from lamplighter.domain.money import Quote, nanos
from lamplighter.errors import EndpointNotFound
from lamplighter.providers.base import Provider

SUM_EVERY = 15.0
"""How often the ledger is asked while anything is awake; in between its growth is followed in memory (seconds)."""

SUM_AT_LEAST = 30.0
"""How often it is asked in any case: what is charged by use grows while nothing is awake (seconds)."""

_TALLY_AGE = 1.0  # seconds for which what has accrued is not looked up again
_BEGINS = 1.0  # seconds by which a period may be on record before its wake was let through
_JUMP = 2.0  # seconds by which the wall clock may drift from the other one between two tallies
_AFTER_JUMP = 12.0  # seconds after which a step of the wall clock is on record
_SETTLED = 5.0  # seconds after which a wake that came to nothing is not expected any more


class SpendingFleet(Protocol):
    """What budgets need of the fleet."""

    @property
    def providers(self) -> Mapping[str, Provider]: ...

    def names(self) -> Sequence[str]: ...

    def start_of(self, name: str) -> tuple[Spec, float | None]:
        """What is started by a wake, and how long that is expected to take (seconds). Raises EndpointNotFound."""

    def is_awake(self, name: str) -> bool: ...

    def is_starting(self, name: str) -> bool: ...

    def funds_changed(self, names: Sequence[str]) -> None:
        """Have these endpoints look at their budgets again."""


class SpendingLedger(Protocol):
    """Where spending is summed up: `Costs` is one."""

    @property
    def calendar(self) -> Calendar: ...

    async def report(self, query: CostQuery) -> CostReport:
        """Raises InvalidInput, StoreError."""

    def accrued(self, now: float | None = None) -> Mapping[str, Accrued]: ...


class SpendingPrices(Protocol):
    """What endpoints cost: `PriceBook` is one."""

    def price_of(self, endpoint: str, at: float | None = None) -> Quote | None: ...


async def _at_once() -> None:
    """Nothing is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What budgets are reckoned from. `list_keys` tells all keys, also those that count no more."""

    fleet: SpendingFleet
    ledger: SpendingLedger
    prices: SpendingPrices
    list_keys: Callable[[], Sequence[ApiKey]]
    settled: Callable[[], Awaitable[None]] = _at_once
    """Waits until what was used just now is on record."""


@dataclass(frozen=True, slots=True)
class _Hold:
    """Set aside for a wake that was let through at a moment (Unix time)."""

    key: ApiKey | None
    least: int
    at: float


class Outlay:
    """Follows what is spent under some budgets. All but `sum_up` answers from memory."""

    def __init__(self, books: Books, clock: Clock) -> None:
        self.books = books
        self.budgets: tuple[Budget, ...] = ()
        """Those that were summed up last."""
        self.accrued: Mapping[str, Accrued] = {}
        """What the awake periods that last had come to at the last tally."""
        self.upstreams: frozenset[str] = frozenset()
        self._clock = clock
        self._sums = Sums()
        self._base: Mapping[str, Accrued] = {}
        self._grown: dict[tuple[str, float], tuple[str, int]] = {}  # account and amount since, by awake period
        self._used = Sums()  # charged by use since the ledger was asked
        self._before = Sums()  # of periods that have ended since: what counted until then
        self._ends: dict[Period, int] = {}
        self._turned: set[Period] = set()
        self._holds: dict[str, _Hold] = {}
        self._ahead = clock.wall() - clock.now()
        self._steady_at = float("-inf")
        self._spent, self._reserved = Sums(), Sums()
        self._tallied_at = self._summed_at = float("-inf")
        self._keys: dict[str, ApiKey] = {}
        self._by_name: dict[str, ApiKey] = {}
        self._named_at = float("-inf")
        self._names: frozenset[str] = frozenset()

    # Sums.

    def is_due(self) -> bool:
        """Whether the ledger is to be asked: a period has renewed or ended, or that was long ago."""
        if not self.budgets or not self._is_steady():
            return False
        if self._renewed() or self._has_ended():
            return True
        busy = bool(self._base or self._holds or self.accrued)
        return self._clock.now() - self._summed_at >= (SUM_EVERY if busy else SUM_AT_LEAST)

    def _has_ended(self) -> bool:
        """Whether an awake period is over whose end, with what rounding adds, is not summed up yet."""
        lasting = {(name, one.began) for name, one in self.accrued.items()}
        known = {(name, one.began) for name, one in self._base.items()} | self._grown.keys()
        return not known <= lasting

    def _renewed(self) -> set[Period]:
        """Which periods have ended since the ledger was asked."""
        now = self._clock.wall()
        return {period for period, end in self._ends.items() if now >= end}

    def _is_steady(self) -> bool:
        """Whether the wall clock goes with the other one. After a step the bookkeeper puts it on record first.

        Until then nothing is counted: time that has not passed would be.
        """
        ahead = self._clock.wall() - self._clock.now()
        if abs(ahead - self._ahead) > _JUMP:
            self._steady_at = self._clock.now() + _AFTER_JUMP
        self._ahead = ahead
        return self._clock.now() >= self._steady_at

    async def sum_up(self, budgets: tuple[Budget, ...]) -> None:
        """Ask the ledger what was spent under these. Raises StoreError; what was known counts on then."""
        await self.books.settled()
        now, used = self._clock.wall(), Sums(dict(self._used.spent))
        base = self.books.ledger.accrued() if budgets else {}
        over = [name for name, hold in self._holds.items() if self._is_over(name, hold, base, now)]
        self._take_names()
        sums = Sums()
        for period in dict.fromkeys(budget.period for budget in budgets):
            some = [budget for budget in budgets if budget.period is period]
            await self._add_up(some, period, int(now), sums)
        for name in over:
            self._holds.pop(name, None)
        self.budgets, self._sums, self._base, self._grown = budgets, sums, base, {}
        self._used.plus(used, -1)
        self._summed_at = self._clock.now()
        self._before, self._turned = Sums(), set()
        self._ends = {one.period: period_of(one.period, int(now), self.calendar)[1] for one in budgets}
        self.tally()

    async def _add_up(self, budgets: Sequence[Budget], period: Period, now: int, sums: Sums) -> None:
        since = first_day_of(period, now, self.calendar)
        if all(budget.scope is Scope.ALL for budget in budgets):
            report = await self.books.ledger.report(CostQuery(since=since))
            sums.add(budgets, "", None, nanos(report.total.total))
            return
        report = await self.books.ledger.report(CostQuery(by=(Dimension.ENDPOINT, Dimension.KEY), since=since))
        for line in report.lines:
            endpoint, key = line.group
            sums.add(budgets, endpoint, self._keys.get(key), nanos(line.total))

    def _is_over(self, name: str, hold: _Hold, accrued: Mapping[str, Accrued], now: float) -> bool:
        """Whether what was set aside is on the ledger by now, or will not be spent."""
        fleet = self.books.fleet
        lasts = name in accrued or fleet.is_awake(name) or fleet.is_starting(name)
        return not lasts and now - hold.at > _SETTLED

    def tally(self) -> None:
        """Add to the ledger's sums what has accrued since, and see what is set aside."""
        self._tallied_at = self._clock.now()
        if not self._is_steady():
            return
        self.accrued = self.books.ledger.accrued() if self.budgets else {}
        self._spent, self._reserved = Sums(dict(self._sums.spent)), Sums()
        for name, one in self.accrued.items():
            before = self._base.get(name)
            known = before.nanos if before is not None and before.began == one.began else 0
            self._grown[name, one.began] = one.account, max(0, one.nanos - known)
        for (name, _), (account, more) in self._grown.items():
            self._spent.add(self.budgets, name, self.key_of(account), more)
        self._spent.plus(self._used, 1)
        self._turn_over()
        self._spent.plus(self._before, -1)
        for name, hold in self._holds.items():
            begun = self.accrued.get(name)
            cost = begun.nanos if begun is not None and begun.began >= hold.at - _BEGINS else 0
            self._reserved.add(self.budgets, name, hold.key, max(0, hold.least - cost))

    def _turn_over(self) -> None:
        """Let what was spent until a period ended count no more, without waiting for the ledger."""
        for period in self._renewed() - self._turned:
            self._turned.add(period)
            names = {budget.name for budget in self.budgets if budget.period is period}
            self._before.spent |= {spot: sum_ for spot, sum_ in self._spent.spent.items() if spot[0] in names}

    def tally_in_time(self) -> None:
        """The same where that was not done just now."""
        if self._clock.now() - self._tallied_at >= _TALLY_AGE:
            self.tally()

    def use(self, target: str, account: str, nanodollars: int) -> None:
        """Count what was charged by use just now."""
        key = self.key_of(account)
        self._used.add(self.budgets, target, key, nanodollars)
        self._spent.add(self.budgets, target, key, nanodollars)

    def exceeded(self, endpoint: str, key: ApiKey | None, least: int) -> Standing | None:
        """The budget that leaves less than `least` nanodollars: of several that which renews last. None: there is none.

        As of the last tally. Asked for each request that finds a gate shut.
        """
        found = [
            (budget, member)
            for budget in self.budgets
            if (member := budget.member_of(endpoint, key)) is not None
            and budget.is_exceeded(self._spent.of(budget, member), self._reserved.of(budget, member), least)
        ]
        standings = [self.standing(budget, member) for budget, member in found]
        return max(standings, key=lambda one: one.renews_at, default=None)

    # What is set aside.

    def hold(self, endpoint: str, account: str, least: int) -> None:
        """Set aside what a wake costs at least, in nanodollars, until that is on the ledger or the wake is over."""
        key = self.key_of(account)
        self._holds[endpoint] = _Hold(key, least, self._clock.wall())
        self._reserved.add(self.budgets, endpoint, key, least)

    def release(self, endpoint: str) -> None:
        """Set nothing aside any more; where nothing was, that is no error."""
        self._holds.pop(endpoint, None)

    def least(self, endpoint: str) -> int:
        """What a wake of an endpoint costs at least now, in nanodollars; 0 where nobody knows its price."""
        fleet = self.books.fleet
        try:
            spec, expected_start = fleet.start_of(endpoint)
        except EndpointNotFound:
            return 0
        quote = self.books.prices.price_of(endpoint)
        rule = fleet.providers[spec.provider].capabilities.billing
        price = None if quote is None else quote.amount
        return least_cost(price, spec.replicas, rule, expected_start)

    # What it tells.

    def members(self, budget: Budget) -> Iterator[str]:
        """Whose spending a budget counts: one, or each of those who spent anything."""
        if budget.member == EACH:
            yield from sorted({*self._spent.members(budget), *self._reserved.members(budget)})
        else:
            yield budget.member

    def standing(self, budget: Budget, member: str) -> Standing:
        """How a budget is used, as of the last tally."""
        return standing(
            budget,
            member,
            spent=self._spent.of(budget, member),
            reserved=self._reserved.of(budget, member),
            now=int(self._clock.wall()),
            calendar=self.calendar,
            unpriced=list(self._unpriced(budget, member)),
            missing=self._is_missing(budget, member),
        )

    def _unpriced(self, budget: Budget, member: str) -> Iterator[str]:
        """Which awake endpoints cost what nobody knows, so that no budget can see it."""
        for name, one in self.accrued.items():
            if budget.member_of(name, self.key_of(one.account)) == member and self.books.prices.price_of(name) is None:
                yield name

    def _is_missing(self, budget: Budget, member: str) -> bool:
        if budget.scope is Scope.ENDPOINT:
            return member not in self._names | self.upstreams
        if budget.scope is Scope.TAG:
            return all(key.tags.get(budget.tag) != member for key in self._keys.values())
        return budget.scope is Scope.KEY and member not in self._by_name

    @property
    def calendar(self) -> Calendar:
        """Whose days count."""
        return self.books.ledger.calendar

    # Keys.

    @property
    def keys(self) -> Sequence[ApiKey]:
        """All that are known."""
        return list(self._keys.values())

    def key_of(self, account: str) -> ApiKey | None:
        """The key behind an account, also where its holder operated."""
        found = self._known_key(account)
        if found is None and KEY in account and self._clock.now() - self._named_at >= _TALLY_AGE:  # made since
            self._take_names()
            found = self._known_key(account)
        return found

    def _known_key(self, account: str) -> ApiKey | None:
        by_name = account.removeprefix(OPERATOR + KEY)
        if by_name != account:
            return self._by_name.get(by_name)
        return self._keys.get(account.removeprefix(KEY)) if account.startswith(KEY) else None

    def _take_names(self) -> None:
        every = self.books.list_keys()
        self._named_at = self._clock.now()
        self._keys = {key.id: key for key in every}
        self._by_name = by_name(every, self._clock.wall())
        self._names = frozenset(self.books.fleet.names())
