"""What was spent today, and since this server started: kept at hand, so that whoever asks waits for no database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostLine, CostQuery, Costs, Dimension
from lamplighter.domain.ledger import Kind
from lamplighter.errors import LamplighterError

log = structlog.get_logger("lamplighter.control")

EVERY = 15.0
"""How often the books are looked at (seconds)."""

_SHARE = 0.05  # of the time at most in which they are
_SETTLED = 300.0  # seconds after midnight: the day before is charged by then
_MOST_COUNTED = 4096
_BY = (Dimension.ENDPOINT, Dimension.PROVIDER, Dimension.DAY)
_KINDS = (Kind.COLD_START, Kind.SERVING, Kind.IDLE, Kind.BY_USE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent on a day, in $. `saved` is what staying awake would have cost on top."""

    cost: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)

    def plus(self, line: CostLine) -> Spent:
        """With what a report's line came to."""
        return Spent(cost=self.cost + line.total, saved=self.saved + (line.saved or Decimal(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """What was spent on the `day` until the Unix time `at`: by endpoint, and in all."""

    day: date
    time_zone: str
    at: float
    total: Spent
    endpoints: dict[str, Spent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What an endpoint at a provider has cost for one kind since this server started, in $. Never gets less."""

    endpoint: str
    provider: str
    kind: Kind
    dollars: Decimal


@dataclass(slots=True)
class _Counter:
    """Amounts in $ by kind, in the order of `_KINDS`."""

    before: list[Decimal]
    """What today had come to when counting began."""
    past: list[Decimal] = field(default_factory=lambda: [Decimal(0)] * len(_KINDS))
    """What days came to that are over."""
    shown: list[Decimal] = field(default_factory=lambda: [Decimal(0)] * len(_KINDS))

    def take(self, amounts: Sequence[Decimal]) -> None:
        """What the days came to that are not over. What an open hour is for may yet change: nothing is taken back."""
        for index, amount in enumerate(amounts):
            grown = self.past[index] + amount - self.before[index]
            self.shown[index] = max(self.shown[index], grown)


class Spending:
    """Looks at the books every so many seconds, less often where that takes long. Owns the task that does."""

    def __init__(self, costs: Costs, clock: Clock, *, every: float = EVERY) -> None:
        self._costs = costs
        self._clock = clock
        self._every = every
        self._since: date | None = None
        self._counters: dict[tuple[str, str], _Counter] = {}
        self._today: Today | None = None
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="spending")

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def today(self) -> Today | None:
        """What today has come to when the books were last looked at; None before that."""
        return self._today

    def of(self, endpoint: str, *, is_priced: bool) -> Spent | None:
        """What an endpoint has come to today; None where that is not known yet, or nobody knows its price."""
        if self._today is None:
            return None
        spent = self._today.endpoints.get(endpoint, Spent())
        return spent if is_priced or spent.cost else None

    def counted(self) -> list[Counted]:
        """What was spent since the start."""
        return [
            Counted(endpoint=endpoint, provider=provider, kind=kind, dollars=dollars)
            for (endpoint, provider), counter in self._counters.items()
            for kind, dollars in zip(_KINDS, counter.shown, strict=True)
        ]

    async def look(self) -> None:
        """Look at the books now. Raises StoreError."""
        now = self._clock.wall()
        calendar = self._costs.calendar
        today = calendar.day_of(int(now))
        since = min(self._since or today, today)
        report = await self._costs.report(CostQuery(by=_BY, since=since))
        self._today = _today(report.lines, today, report.time_zone, report.at)
        first = self._since is None
        over = since < today and now - calendar.begin_of(today) >= _SETTLED
        self._count(report.lines, today if over else since, is_first=first)
        self._since = today if over else since

    def _count(self, lines: Sequence[CostLine], since: date, *, is_first: bool) -> None:
        """Count what days came to; those before `since` are over, and will not be asked for again."""
        nothing = [Decimal(0)] * len(_KINDS)
        over: dict[tuple[str, str], list[Decimal]] = {}
        lasting: dict[tuple[str, str], list[Decimal]] = {}
        for line in lines:
            endpoint, provider, day = line.group
            sums = over if day < since.isoformat() else lasting
            known = sums.get((endpoint, provider), nothing)
            sums[endpoint, provider] = [
                one + more
                for one, more in zip(known, (line.cold_start, line.serving, line.idle, line.by_use), strict=True)
            ]
        for key in {**over, **lasting}:
            counter = self._counters.get(key)
            if counter is None:
                counter = self._counters[key] = _Counter(lasting.get(key, nothing) if is_first else nothing)
            counter.past = [one + more for one, more in zip(counter.past, over.get(key, nothing), strict=True)]
            counter.take(lasting.get(key, nothing))
        while len(self._counters) > _MOST_COUNTED:
            del self._counters[next(iter(self._counters))]

    async def _run(self) -> None:
        while True:
            began = self._clock.now()
            try:
                await self.look()
            except LamplighterError as error:
                if not self._failing:
                    log.warning("what is spent is not known; it is asked for again", error=error.message)
                self._failing = True
            except Exception:
                log.exception("looking at what is spent broke")  # the next look may work: this task has to live
            else:
                self._failing = False
            took = self._clock.now() - began
            await asyncio.sleep(max(self._every, took / _SHARE))


def _today(lines: Sequence[CostLine], today: date, time_zone: str, at: float) -> Today:
    total, endpoints = Spent(), dict[str, Spent]()
    for line in lines:
        endpoint, _, day = line.group
        if day == today.isoformat():
            endpoints[endpoint] = endpoints.get(endpoint, Spent()).plus(line)
            total = total.plus(line)
    return Today(day=today, time_zone=time_zone, at=at, total=total, endpoints=endpoints)
