"""Keeps the budgets: sums what was spent, sets aside what wakes will cost, and says when nothing is left.

A wake is checked at one place, right before it is asked of the provider, without anything being awaited between the
check and the reservation: many at once cannot spend the same dollar. docs/budgets.md says the rules in words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from lamplighter.control.accruals import Accrued
from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostQuery, CostReport, Dimension
from lamplighter.control.purse import Purse, SpentKeys
from lamplighter.domain.accounts import KEY, OPERATOR
from lamplighter.domain.budgets import (
    EACH,
    AtLimit,
    Budget,
    Period,
    Scope,
    Standing,
    Sums,
    exceeded_by,
    first_day_of,
    least_cost,
    period_of,
    standing,
)
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.money import Quote, dollars, in_words, nanos
from lamplighter.errors import BudgetSpent, EndpointNotFound, LamplighterError
from lamplighter.providers.base import Provider

log = structlog.get_logger("lamplighter.budgets")

TURN = 2.0
"""How often what runs is looked at (seconds)."""

SUM_EVERY = 15.0
"""How often the ledger is asked while anything is awake; in between its growth is followed in memory (seconds)."""

SUM_AT_LEAST = 300.0
"""How often it is asked in any case (seconds)."""

_TALLY_AGE = 1.0  # seconds for which what has accrued is not looked up again
_BEGINS = 1.0  # seconds by which a period may be on record before its wake was let through
_SETTLED = 5.0  # seconds after which a wake that came to nothing is not expected any more
_SEVERITY = {None: 0, AtLimit.IDLE: 1, AtLimit.DRAIN: 2, AtLimit.CUT: 3}


class SpendingFleet(Protocol):
    """What budgets need of the fleet."""

    @property
    def providers(self) -> Mapping[str, Provider]: ...

    def names(self) -> Sequence[str]: ...

    def endpoint(self, name: str) -> Endpoint:
        """Raises EndpointNotFound."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What budgets are reckoned from. `keys` tells all keys, also those that count no more."""

    fleet: SpendingFleet
    ledger: SpendingLedger
    prices: SpendingPrices
    keys: Callable[[], Sequence[ApiKey]]


@dataclass(frozen=True, slots=True)
class _Hold:
    """Set aside for a wake that was let through at a moment (Unix time)."""

    key: ApiKey | None
    least: int
    at: float


class Budgets(Purse, SpentKeys):
    """Implements `Purse` for controllers, and `SpentKeys` for the gateway.

    Until it is open nothing is woken, where there are budgets.
    """

    def __init__(self, clock: Clock, budgets: Sequence[Budget] = ()) -> None:
        self._clock = clock
        self._budgets = tuple(budgets)
        self._books: Books | None = None
        self._sums = Sums()
        self._base: Mapping[str, Accrued] = {}
        self._grown: dict[tuple[str, float], tuple[str, int]] = {}  # since: account and amount, by awake period
        self._holds: dict[str, _Hold] = {}
        self._spent, self._reserved = Sums(), Sums()
        self._tallied_at = float("-inf")
        self._summed_at = float("-inf")
        self._renews_at = 0
        self._limits: dict[str, AtLimit] = {}
        self._unpriced: dict[tuple[str, str], list[str]] = {}
        self._keys: dict[str, ApiKey] = {}
        self._names: frozenset[str] = frozenset()
        self._closed: dict[str, Standing] = {}
        self._told: set[tuple[str, str]] = set()
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # Its life.

    async def open(self, books: Books) -> None:
        """Sum up what was spent, and begin to look. Raises StoreError."""
        self._books = books
        await self._sum_up()
        self._look()
        books.fleet.funds_changed(books.fleet.names())
        self._task = asyncio.create_task(self._run(), name="budgets")

    async def close(self) -> None:
        """Stop looking."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def apply(self, budgets: Sequence[Budget]) -> None:
        """Take other budgets: they count as soon as they are summed up, which is begun at once."""
        self._budgets = tuple(budgets)
        self._summed_at = float("-inf")
        self._again.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except LamplighterError as error:
                log.warning("budgets not summed up; what is known counts on", error=error.message)
            except Exception:
                log.exception("budgets broke")  # the next turn may work: this task has to live
            self._again.clear()
            try:
                async with asyncio.timeout(TURN):
                    await self._again.wait()
            except TimeoutError:
                continue

    async def _turn(self) -> None:
        if self._is_due():
            before = self._budgets
            await self._sum_up()
            if before is not self._budgets:  # changed while that went on
                self._again.set()
        self._look()

    def _is_due(self) -> bool:
        now, busy = self._clock.now(), bool(self._base or self._holds or self._accrued())
        if self._clock.wall() >= self._renews_at or self._has_ended():
            return bool(self._budgets)
        return now - self._summed_at >= (SUM_EVERY if busy else SUM_AT_LEAST)

    def _has_ended(self) -> bool:
        """Whether an awake period is over whose end, with what rounding adds, is not summed up yet."""
        lasting = {(name, one.began) for name, one in self._accrued().items()}
        known = {(name, one.began) for name, one in self._base.items()} | self._grown.keys()
        return not known <= lasting

    # Sums.

    async def _sum_up(self) -> None:
        """Ask the ledger. Raises StoreError."""
        books, budgets = self._open_books(), self._budgets
        now = self._clock.wall()
        base = dict(self._accrued())
        over = [name for name, hold in self._holds.items() if self._is_over(name, hold, base, now)]
        self._take_keys(books)
        sums = Sums()
        for period in dict.fromkeys(budget.period for budget in budgets):
            some = [budget for budget in budgets if budget.period is period]
            await self._add_up(books, some, period, int(now), sums)
        for name in over:
            self._holds.pop(name, None)
        self._grown = {}
        self._sums, self._base, self._summed_at = sums, base, self._clock.now()
        self._renews_at = min(
            (period_of(one.period, int(now), books.ledger.calendar)[1] for one in budgets),
            default=int(now + SUM_AT_LEAST),
        )
        self._tally()

    async def _add_up(self, books: Books, budgets: Sequence[Budget], period: Period, now: int, sums: Sums) -> None:
        since = first_day_of(period, now, books.ledger.calendar)
        if all(budget.scope is Scope.ALL for budget in budgets):
            report = await books.ledger.report(CostQuery(since=since))
            sums.add(budgets, "", None, nanos(report.total.total))
            return
        report = await books.ledger.report(CostQuery(by=(Dimension.ENDPOINT, Dimension.KEY), since=since))
        for line in report.lines:
            endpoint, key = line.group
            sums.add(budgets, endpoint, self._keys.get(key), nanos(line.total))

    def _is_over(self, name: str, hold: _Hold, accrued: Mapping[str, Accrued], now: float) -> bool:
        """Whether what was set aside is on the ledger by now, or will not be spent."""
        fleet = self._open_books().fleet
        lasts = name in accrued or fleet.is_awake(name) or fleet.is_starting(name)
        return not lasts and now - hold.at > _SETTLED

    def _take_keys(self, books: Books) -> None:
        self._keys = {key.id: key for key in books}
        self._names = frozenset(books.fleet.names())

    def _key_of(self, account: str) -> ApiKey | None:
        """The key behind an account, also where its holder operated."""
        by_name = account.removeprefix(OPERATOR + KEY)
        if by_name != account:
            return next((key for key in self._keys.values() if key.name == by_name), None)
        if not account.startswith(KEY):
            return None
        found = self._keys.get(account.removeprefix(KEY))
        if found is None and self._books is not None:  # made since
            self._take_keys(self._books)
            found = self._keys.get(account.removeprefix(KEY))
        return found

    def _accrued(self) -> Mapping[str, Accrued]:
        return self._books.ledger.accrued() if self._books is not None and self._budgets else {}

    def _tally(self) -> None:
        """Add to the ledger's sums what has accrued since, and see what is set aside."""
        accrued = self._accrued()
        self._spent, self._reserved = Sums(dict(self._sums.spent)), Sums()
        for name, one in accrued.items():
            before = self._base.get(name)
            known = before.nanos if before is not None and before.began == one.began else 0
            self._grown[name, one.began] = one.account, max(0, one.nanos - known)
        for (name, _), (account, more) in self._grown.items():
            self._spent.add(self._budgets, name, self._key_of(account), more)
        for name, hold in self._holds.items():
            begun = accrued.get(name)
            cost = begun.nanos if begun is not None and begun.began >= hold.at - _BEGINS else 0
            self._reserved.add(self._budgets, name, hold.key, max(0, hold.least - cost))
        self._tallied_at = self._clock.now()

    # What it tells.

    def standings(self) -> Sequence[Standing]:
        """How each budget is used now, in the order of the configuration; one that each has, by whoever used it."""
        if self._books is None:
            return ()
        self._tally_in_time()
        return [self._standing(budget, member) for budget in self._budgets for member in self._members(budget)]

    def _members(self, budget: Budget) -> Iterator[str]:
        if budget.member == EACH:
            yield from self._spent.members(budget)
        else:
            yield budget.member

    def _standing(self, budget: Budget, member: str) -> Standing:
        return standing(
            budget,
            member,
            spent=self._spent.of(budget, member),
            reserved=self._reserved.of(budget, member),
            now=int(self._clock.wall()),
            calendar=self._open_books().ledger.calendar,
            unpriced=self._unpriced.get((budget.name, member), ()),
            missing=self._is_missing(budget, member),
        )

    def _is_missing(self, budget: Budget, member: str) -> bool:
        if budget.scope is Scope.ENDPOINT:
            return member not in self._names
        return budget.scope is Scope.KEY and all(key.name != member for key in self._keys.values())

    # For controllers.

    def refusal(self, endpoint: str, account: str) -> BudgetSpent | None:
        if not self._budgets:
            return None
        if self._books is None:
            return BudgetSpent("The budgets are being summed up; try again in a moment.", budget="", retry_after=1.0)
        self._tally_in_time()
        return self._refusal(endpoint, account, self._least(endpoint))

    def reserve(self, endpoint: str, account: str) -> BudgetSpent | None:
        if not self._budgets or self._books is None:
            return self.refusal(endpoint, account)
        self._holds.pop(endpoint, None)  # of an attempt that came to nothing
        self._tally()
        least = self._least(endpoint)
        refused = self._refusal(endpoint, account, least)
        if refused is None:
            key = self._key_of(account)
            self._holds[endpoint] = _Hold(key, least, self._clock.wall())
            self._reserved.add(self._budgets, endpoint, key, least)
        return refused

    def at_limit(self, endpoint: str) -> AtLimit | None:
        return self._limits.get(endpoint)

    @property
    def closed_keys(self) -> Mapping[str, Standing]:
        """Those of which a budget that says `drain` is spent."""
        return self._closed

    def closed(self, key_id: str) -> BudgetSpent:
        return self._spent_error(self._closed[key_id], "and with it all that this key may use")

    def _refusal(self, endpoint: str, account: str, least: int) -> BudgetSpent | None:
        key = self._key_of(account)
        exceeded = [
            found
            for budget in self._budgets
            if (member := budget.member_of(endpoint, key)) is not None
            and exceeded_by(found := self._standing(budget, member), least)
        ]
        if not exceeded:
            return None
        last = max(exceeded, key=lambda found: found.renews_at)
        cost = (
            f"and waking {endpoint!r} costs at least {in_words(dollars(least))}"
            if least
            else "so that nothing is woken"
        )
        return self._spent_error(last, cost)

    def _spent_error(self, found: Standing, why: str) -> BudgetSpent:
        budget = found.budget
        used = f"{in_words(found.spent)} of {in_words(budget.limit)} a {budget.period} ({budget.whose})"
        aside = f" and {in_words(found.reserved)} set aside" if found.reserved else ""
        text = (
            f"Budget {found.name!r}: {used} spent{aside}, {why}. It renews at {self.moment(found.renews_at)}. To go on "
            f"before, raise `budgets.{budget.name}.limit` in the configuration."
        )
        return BudgetSpent(text, budget=budget.name, retry_after=max(1.0, found.renews_at - self._clock.wall()))

    def moment(self, at: int) -> str:
        """A moment of Unix time in the ledger's time zone: 2026-12-01 00:00 (UTC)."""
        name = self._open_books().ledger.calendar.name
        zone = UTC if name == "UTC" else ZoneInfo(name)
        return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M} ({name})"

    def _least(self, name: str) -> int:
        books = self._open_books()
        quote = books.prices.price_of(name)
        try:
            endpoint = books.fleet.endpoint(name)
        except EndpointNotFound:
            return 0
        rule = books.fleet.providers[endpoint.spec.provider].capabilities.billing
        price = None if quote is None else quote.amount
        return least_cost(price, endpoint.spec.replicas, rule, endpoint.expected_start)

    def _tally_in_time(self) -> None:
        if self._clock.now() - self._tallied_at >= _TALLY_AGE:
            self._tally()

    def _open_books(self) -> Books:
        assert self._books is not None
        return self._books

    # Enforcing.

    def _look(self) -> None:
        """See which endpoints and keys have nothing left, and have those look that this changes anything for."""
        books = self._open_books()
        if not self._budgets and not self._limits:
            self._closed = {}
            return
        self._tally()
        spent = [one for one in self.standings() if one.is_spent]
        limits = self._limits_by(spent)
        changed = [name for name in {**limits, **self._limits} if limits.get(name) is not self._limits.get(name)]
        self._limits = limits
        self._closed = dict(self._closed_keys(spent))
        self._find_unpriced(books)
        self._tell(spent)
        if changed:
            books.fleet.funds_changed(changed)

    def _limits_by(self, spent: Sequence[Standing]) -> dict[str, AtLimit]:
        """What becomes of which endpoint: of several budgets the harshest word counts."""
        limits: dict[str, AtLimit] = {}
        for found in spent:
            for name, word in self._hit(found):
                limits[name] = max(word, limits.get(name, word), key=_SEVERITY.__getitem__)
        return limits

    def _hit(self, found: Standing) -> Iterator[tuple[str, AtLimit]]:
        budget = found.budget
        match budget.scope:
            case Scope.ALL:
                yield from ((name, budget.at_limit) for name in self._open_books().fleet.names())
            case Scope.ENDPOINT:
                yield found.member, budget.at_limit
            case _:  # what others are charged for goes on
                for name, one in self._accrued().items():
                    if budget.member_of(name, self._key_of(one.account)) == found.member:
                        yield name, AtLimit.IDLE

    def _closed_keys(self, spent: Sequence[Standing]) -> Iterator[tuple[str, Standing]]:
        for found in spent:
            budget = found.budget
            if budget.scope in {Scope.KEY, Scope.TAG} and budget.at_limit is not AtLimit.IDLE:
                for key in self._keys.values():
                    if budget.member_of("", key) == found.member:
                        yield key.id, found

    def _find_unpriced(self, books: Books) -> None:
        """Note which endpoints cost what nobody knows, so that no budget can see it."""
        self._unpriced = {}
        for name, one in self._accrued().items():
            if books.prices.price_of(name) is not None:
                continue
            for budget in self._budgets:
                member = budget.member_of(name, self._key_of(one.account))
                if member is not None:
                    self._unpriced.setdefault((budget.name, member), []).append(name)

    def _tell(self, spent: Sequence[Standing]) -> None:
        now = {(one.budget.name, one.member): one for one in spent}
        for spot in now.keys() - self._told:
            found = now[spot]
            log.warning(
                "budget spent",
                budget=found.name,
                spent=str(found.spent),
                limit=str(found.budget.limit),
                renews_at=self.moment(found.renews_at),
            )
        self._told = set(now)
