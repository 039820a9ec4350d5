"""A fleet whose costs are kept, in simulated time: real controllers, a real database, a price list of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from lamplighter.control import outlay
from lamplighter.control.accruals import Accruals
from lamplighter.control.bookkeeping import EVERY, Bookkeeper
from lamplighter.control.budgets import Budgets
from lamplighter.control.costs import Costs
from lamplighter.control.demand import Caller
from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import StoreJournal
from lamplighter.control.tariffs import Tariffs
from lamplighter.domain.budgets import Budget
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import EngineSpec, Policy, Spec
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import Change
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.providers.memory import MemoryProvider
from lamplighter.store import Store
from lamplighter.store.database import Database
from tests.virtual_time import VirtualClock

P = ParamSpec("P")
T = TypeVar("T")


class InlineStore(Store):
    """The same database without a thread of its own, for loops whose time jumps."""

    def __init__(self, database: Database | None = None) -> None:
        super().__init__(database or Database(":memory:"), ThreadPoolExecutor(1))

    async def _run(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._database.transaction() as connection:
            return query(connection, *args, **kwargs)

    async def close(self) -> None:
        self._database.close()


class PriceList:
    """Prices by endpoint: from which moment on a replica costs how much an hour."""

    def __init__(self, **prices: str) -> None:
        self._changes = {name: [(0.0, price)] for name, price in prices.items()}

    def set(self, name: str, at: float, price: str) -> None:
        self._changes.setdefault(name, []).append((at, price))

    def price_of(self, endpoint: str, at: float | None = None) -> Quote | None:
        found = [(since, price) for since, price in self._changes.get(endpoint, []) if at is None or since <= at]
        return _quote(endpoint, *found[-1]) if found else None

    def changes(self, endpoint: str, since: float, until: float) -> Sequence[Change]:
        return [
            Change(max(at, since), _quote(endpoint, at, price))
            for at, price in self._changes.get(endpoint, [])
            if at < until
        ]


def _quote(name: str, at: float, price: str) -> Quote:
    return Quote(subject=name, unit=Unit.REPLICA_HOUR, amount=Decimal(price), source="test", at=at)


class Books:
    """One run of a server over a database that outlives it."""

    def __init__(
        self,
        store: Store,
        provider: MemoryProvider,
        clock: VirtualClock,
        prices: PriceList,
        zone: str,
        every: float,
        budgets: Sequence[Budget] = (),
    ) -> None:
        self.store, self.provider, self.clock, self.prices = store, provider, clock, prices
        self.journal = StoreJournal(store, clock)
        self.accruals = Accruals(self.journal)
        self.budgets = Budgets(clock, budgets)
        self.fleet = Fleet({"memory": provider}, self.accruals, clock=clock, purse=self.budgets)
        tariffs = Tariffs(self.fleet, prices, Calendar(zone), clock)
        self.keys: list[ApiKey] = []
        self.keeper = Bookkeeper(self.fleet, store, self.accruals, clock, tariffs, every=every)
        self.costs = Costs(store, tariffs, self.accruals, clock, keys=lambda: self.keys)

    async def open(self, specs: Sequence[Spec]) -> None:
        await self.journal.open()
        await self.fleet.open(specs)
        await self.keeper.start()
        self.accruals.seed(await self.keeper.positions())

    async def watch_budgets(self) -> None:
        await self.budgets.open(
            outlay.Books(fleet=self.fleet, ledger=self.costs, prices=self.prices, list_keys=lambda: self.keys)
        )

    async def serve(self, name: str = "chat", *, key: str = "ann", seconds: float = 10.0, tokens: int = 0) -> None:
        """Send one request, and put on record what it used."""
        began = self.clock.now()
        caller = Caller(key=key, route=name)
        claim = self.fleet.try_claim(name) or await self.fleet.claim(name, None, caller)
        waited = self.clock.now() - began
        await asyncio.sleep(seconds)
        claim.release()
        record = UsageRecord(
            endpoint=name,
            at=self.clock.wall(),
            route="/v1/chat/completions",
            status=200,
            outcome=Outcome.SERVED,
            waited=waited,
            duration=self.clock.now() - began,
            bytes_in=1,
            bytes_out=1,
            model=name,
            key=key,
            tokens_in=tokens,
            tokens_out=2 * tokens,
        )
        await self.store.add_usage([record])

    async def charge(self, target: str, nanodollars: int, *, key: str = "ann", tokens: int = 100) -> None:
        """Put on record that an upstream answered a request and charged for it."""
        record = UsageRecord(
            endpoint=target,
            at=self.clock.wall(),
            route="/v1/chat/completions",
            status=200,
            outcome=Outcome.SERVED,
            waited=0.0,
            duration=1.0,
            bytes_in=1,
            bytes_out=1,
            model="smart",
            key=key,
            tokens_in=tokens,
            tokens_out=tokens,
            nanodollars=nanodollars,
        )
        await self.store.add_usage([record])


def endpoint(name: str = "chat", *, replicas: int = 1, **policy: Any) -> Spec:
    """A spec whose endpoint sleeps after a minute."""
    policy = {"idle_timeout": 60.0, "wake_timeout": 600.0} | policy
    return Spec(
        name=name, provider="memory", engine=EngineSpec(engine="none"), policy=Policy(**policy), replicas=replicas
    )


@contextlib.asynccontextmanager
async def books(
    *specs: Spec,
    store: Store | None = None,
    provider: MemoryProvider | None = None,
    clock: VirtualClock | None = None,
    prices: PriceList | None = None,
    zone: str = "UTC",
    every: float = EVERY,
    killed: bool = False,
    budgets: Sequence[Budget] = (),
    keys: Sequence[ApiKey] = (),
) -> AsyncIterator[Books]:
    """A run with these endpoints, `chat` by default. With `killed` it ends as a process does that is killed."""
    one = Books(
        store or InlineStore(),
        provider or MemoryProvider(start_delay=30.0, stop_delay=1.0),
        clock or VirtualClock(),
        prices or PriceList(chat="3.6"),
        zone,
        every,
        budgets,
    )
    one.keys += keys
    await one.open(specs or [endpoint()])
    if budgets or keys:  # they look twice a second: that takes long in simulated weeks
        await one.watch_budgets()
    try:
        yield one
    finally:
        await one.budgets.close()
        if killed:
            assert one.keeper._task is not None
            one.keeper._task.cancel()
            await one.fleet.close(drain=0.0, leave_running=True)
        else:
            await one.keeper.close()
            await one.fleet.close(drain=0.0)
        await one.journal.close()
