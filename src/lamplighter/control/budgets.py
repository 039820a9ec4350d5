"""Keeps the budgets: sums what was spent, sets aside what wakes will cost, and says when nothing is left.

A wake is checked at one place, right before it is asked of the provider, without anything being awaited between the
check and the reservation: many at once cannot spend the same dollar. docs/budgets.md says the rules in words.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.outlay import Books, Outlay
from lamplighter.control.purse import Purse, Spent
from lamplighter.domain.accounts import KEY
from lamplighter.domain.budgets import AtLimit, Budget, Scope, Standing
from lamplighter.domain.money import dollars, in_words
from lamplighter.errors import BudgetSpent, LamplighterError

log = structlog.get_logger("lamplighter.budgets")

TURN = 2.0
"""How often what runs is looked at (seconds)."""

_SEVERITY = [AtLimit.IDLE, AtLimit.DRAIN, AtLimit.CUT]


class Budgets(Purse, Spent):
    """Implements `Purse` for controllers, and `Spent` for the gateway.

    Until it is open nothing is woken, where there are budgets.
    """

    def __init__(self, clock: Clock, budgets: Sequence[Budget] = (), *, upstreams: Iterable[str] = ()) -> None:
        """`upstreams` are the names that budgets of an endpoint may have, beside those of endpoints."""
        self._clock = clock
        self._budgets = tuple(budgets)
        self._upstreams = frozenset(upstreams)
        self._outlay: Outlay | None = None
        self._limits: dict[str, tuple[AtLimit, Standing]] = {}
        self._closed: dict[str, Standing] = {}
        self._told: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # Its life.

    async def open(self, books: Books) -> None:
        """Sum up what was spent, and begin to look. Raises StoreError."""
        outlay = Outlay(books, self._clock)
        outlay.upstreams = self._upstreams
        await outlay.sum_up(self._budgets)
        self._outlay = outlay
        self._look(outlay)
        books.fleet.funds_changed(books.fleet.names())
        self._tasks = [
            asyncio.create_task(self._look_for_ever(outlay), name="budgets"),
            asyncio.create_task(self._sum_for_ever(outlay), name="sums of budgets"),
        ]

    async def close(self) -> None:
        """Stop looking."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def apply(self, budgets: Sequence[Budget], *, upstreams: Iterable[str] = ()) -> None:
        """Take other budgets: they count as soon as they are summed up, which is begun at once."""
        self._budgets = tuple(budgets)
        self._open().upstreams = frozenset(upstreams)
        self._changed.set()

    async def _look_for_ever(self, outlay: Outlay) -> None:
        """What is spent is enforced whether or not the ledger answers."""
        while True:
            await asyncio.sleep(TURN)
            try:
                self._look(outlay)
            except Exception:
                log.exception("looking at budgets broke")  # the next turn may work: this task has to live

    async def _sum_for_ever(self, outlay: Outlay) -> None:
        failing = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN):
                    await self._changed.wait()
            self._changed.clear()
            if outlay.budgets is self._budgets and not outlay.is_due():
                continue
            try:
                await outlay.sum_up(self._budgets)
                self._look(outlay)
            except LamplighterError as error:
                if not failing:
                    log.warning("budgets not summed up; what is known counts on", error=error.message)
                failing = True
                await asyncio.sleep(TURN)
            except Exception:
                log.exception("summing up budgets broke")  # the next time it may work: this task has to live
                await asyncio.sleep(TURN)
            else:
                failing = False

    def _open(self) -> Outlay:
        assert self._outlay is not None
        return self._outlay

    # What it tells.

    def standings(self) -> Sequence[Standing]:
        """How each budget is used now, in the order of the configuration; one that each has, by whoever used it."""
        outlay = self._outlay
        if outlay is None:
            return ()
        outlay.tally_in_time()
        return [outlay.standing(budget, member) for budget in outlay.budgets for member in outlay.members(budget)]

    # For controllers and the gateway.

    def refusal(self, endpoint: str, account: str) -> BudgetSpent | None:
        if not self._budgets:
            return None
        if self._outlay is None:
            return BudgetSpent("The budgets are being summed up; try again in a moment.", budget="", retry_after=1.0)
        self._outlay.tally_in_time()
        return self._refusal(self._outlay, endpoint, account, self._outlay.least(endpoint))

    def reserve(self, endpoint: str, account: str) -> BudgetSpent | None:
        outlay = self._outlay
        if not self._budgets or outlay is None:
            return self.refusal(endpoint, account)
        outlay.release(endpoint)  # of an attempt that came to nothing
        outlay.tally()
        least = outlay.least(endpoint)
        refused = self._refusal(outlay, endpoint, account, least)
        if refused is None:
            outlay.hold(endpoint, account, least)
            self._limits.pop(endpoint, None)  # of a key that paid for it before: this time it is on another account
        return refused

    def is_spent(self, endpoint: str, account: str) -> bool:
        if not self._budgets or self._outlay is None:
            return False
        self._outlay.tally_in_time()
        return self._outlay.exceeded(endpoint, self._outlay.key_of(account), 0) is not None

    def at_limit(self, endpoint: str) -> AtLimit | None:
        limit = self._limits.get(endpoint)
        return None if limit is None else limit[0]

    def spent(self, endpoint: str) -> BudgetSpent | None:
        limit = self._limits.get(endpoint)
        return None if limit is None else self._error(self._open(), limit[1], "and nothing is woken")

    @property
    def closed_keys(self) -> Mapping[str, Standing]:
        """Those of which a budget that says `drain` is spent."""
        return self._closed

    def closed(self, key_id: str) -> BudgetSpent:
        return self._error(self._open(), self._closed[key_id], "and with it all that this key may use")

    def by_use(self, target: str, key_id: str) -> BudgetSpent | None:
        if not self._budgets or self._outlay is None:
            return None
        outlay = self._outlay
        outlay.tally_in_time()
        found = outlay.exceeded(target, outlay.key_of(KEY + key_id), 0)
        return None if found is None else self._error(outlay, found, f"and {target!r} charges by use")

    def used(self, target: str, key_id: str, nanodollars: int) -> None:
        if self._outlay is not None and self._budgets:
            self._outlay.use(target, KEY + key_id, nanodollars)

    def _refusal(self, outlay: Outlay, endpoint: str, account: str, least: int) -> BudgetSpent | None:
        found = outlay.exceeded(endpoint, outlay.key_of(account), least)
        if found is None:
            return None
        cost = f"and waking {endpoint!r} costs at least {in_words(dollars(least))}" if least else "and nothing is woken"
        return self._error(outlay, found, cost)

    def _error(self, outlay: Outlay, found: Standing, why: str) -> BudgetSpent:
        budget = found.budget
        used = f"{in_words(found.spent)} of {in_words(budget.limit)} a {budget.period} ({found.whose})"
        aside = f" and {in_words(found.reserved)} set aside" if found.reserved else ""
        renews = outlay.calendar.moment(found.renews_at)
        text = (
            f"Budget {found.name!r}: {used} spent{aside}, {why}. It renews at {renews}. To go on before, raise "
            f"`budgets.{budget.name}.limit` in the configuration."
        )
        return BudgetSpent(text, budget=budget.name, retry_after=max(1.0, found.renews_at - self._clock.wall()))

    # Enforcing.

    def _look(self, outlay: Outlay) -> None:
        """See which endpoints and keys have nothing left, and have those look that this changes anything for."""
        outlay.tally_in_time()
        spent = [one for one in self.standings() if one.is_spent]
        limits = _limits_by(spent, outlay)
        before, now = ({name: word for name, (word, _) in some.items()} for some in (self._limits, limits))
        changed = [name for name in before | now if before.get(name) is not now.get(name)]
        self._limits = limits
        self._closed = dict(_closed_keys(spent, outlay))
        self._tell(spent, outlay)
        if changed:
            outlay.books.fleet.funds_changed(changed)

    def _tell(self, spent: Sequence[Standing], outlay: Outlay) -> None:
        now = {(one.budget.name, one.member): one for one in spent}
        for spot in now.keys() - self._told:
            found = now[spot]
            log.warning(
                "budget spent",
                budget=found.name,
                spent=str(found.spent),
                limit=str(found.budget.limit),
                renews_at=outlay.calendar.moment(found.renews_at),
            )
        self._told = set(now)


def _limits_by(spent: Sequence[Standing], outlay: Outlay) -> dict[str, tuple[AtLimit, Standing]]:
    """What becomes of which endpoint, and by which budget: of several the harshest word counts."""
    limits: dict[str, tuple[AtLimit, Standing]] = {}
    for found in spent:
        for name, word in _hit(found, outlay):
            known = limits.get(name)
            if known is None or _SEVERITY.index(word) > _SEVERITY.index(known[0]):
                limits[name] = word, found
    return limits


def _hit(found: Standing, outlay: Outlay) -> Iterator[tuple[str, AtLimit]]:
    budget = found.budget
    match budget.scope:
        case Scope.ALL:
            yield from ((name, budget.at_limit) for name in outlay.books.fleet.names())
        case Scope.ENDPOINT:
            yield found.member, budget.at_limit
        case _:  # what others are charged for goes on
            for name, one in outlay.accrued.items():
                if budget.member_of(name, outlay.key_of(one.account)) == found.member:
                    yield name, AtLimit.IDLE


def _closed_keys(spent: Sequence[Standing], outlay: Outlay) -> Iterator[tuple[str, Standing]]:
    for found in spent:
        budget = found.budget
        if budget.scope in {Scope.KEY, Scope.TAG} and budget.at_limit is not AtLimit.IDLE:
            for key in outlay.keys:
                if budget.member_of("", key) == found.member:
                    yield key.id, found
