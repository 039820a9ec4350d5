"""What this server itself has on offer: its endpoints, its upstreams, its routes, and what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostLine, CostQuery, CostReport, Dimension
from lamplighter.control.demand import Operations
from lamplighter.control.kept import Kept
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.offers import MeasuredCost, Throughput
from lamplighter.domain.routing import Route, Upstream
from lamplighter.store.using import Answered, Spell

MEASURED_FOR = 30
"""Over how many days offers are measured."""

_FRESH = 20.0
"""How long what was measured is taken for true (seconds)."""


class Records(Protocol):
    """Who knows what was used: `Store` is one. Every method raises StoreError."""

    async def answered(self, target: str, *, since: float) -> Answered: ...

    async def spells(
        self, targets: Sequence[str], *, route: str | None = None, since: float, until: float
    ) -> list[Spell]: ...


class Charged(Protocol):
    """Who knows what was charged: `Costs` is one."""

    @property
    def calendar(self) -> Calendar: ...

    async def report(self, query: CostQuery) -> CostReport: ...


class Written(Protocol):
    """Who writes down what is used: `UsageWriter` is one."""

    async def settled(self, timeout: float = 1.0) -> None: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """Of an endpoint or upstream: how fast it answered, and what that cost. None: not measured."""

    throughput: Throughput | None = None
    cost: MeasuredCost | None = None


class Stock:
    """Looks at the endpoints, and at what is on record of them."""

    def __init__(
        self, operations: Operations, records: Records, charged: Charged, usage: Written, clock: Clock
    ) -> None:
        self._operations = operations
        self._records = records
        self._charged = charged
        self._usage = usage
        self._clock = clock
        self._upstreams: tuple[Upstream, ...] = ()
        self._routes: tuple[Route, ...] = ()
        self._measured = Kept[Mapping[str, Measured]](clock, fresh=_FRESH, stale=_FRESH)

    def take(self, upstreams: Mapping[str, Upstream], routes: Mapping[str, Route]) -> None:
        """Take those of a configuration."""
        self._upstreams = tuple(upstreams.values())
        self._routes = tuple(routes.values())

    def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints as they are now."""
        return self._operations.endpoints()

    def upstreams(self) -> Sequence[Upstream]:
        """The model APIs of the configuration."""
        return self._upstreams

    def routes(self) -> Sequence[Route]:
        """The routes of the configuration."""
        return self._routes

    def day_of(self, at: float) -> tuple[date, float]:
        """The ledger's day that holds a moment (Unix time), and when it began."""
        day = self._charged.calendar.day_of(int(at))
        return day, float(self._charged.calendar.begin_of(day))

    async def measured(self) -> Mapping[str, Measured]:
        """What was measured in the last MEASURED_FOR days, by target; at most some seconds old. Raises StoreError."""
        return (await self._measured.get("all", self._measure)).value

    async def spells(
        self, targets: Sequence[str], *, route: str | None = None, since: float, until: float
    ) -> list[Spell]:
        """When requests were answered, the oldest first. Raises StoreError."""
        await self._usage.settled()
        return await self._records.spells(targets, route=route, since=since, until=until)

    async def charged(self, since: date, by_route: bool = False) -> Sequence[CostLine]:
        """What endpoints cost since a day: by endpoint, or by endpoint and route. Raises StoreError."""
        by = (Dimension.ENDPOINT, Dimension.ROUTE) if by_route else (Dimension.ENDPOINT,)
        return (await self._charged.report(CostQuery(by=by, since=since))).lines

    async def _measure(self) -> Mapping[str, Measured]:
        await self._usage.settled()
        day, since = self.day_of(self._clock.wall() - timedelta(days=MEASURED_FOR).total_seconds())
        lines = {line.group[0]: line for line in await self.charged(day)}
        names = [one.spec.name for one in self.endpoints()] + [one.name for one in self._upstreams]
        upstreams = {one.name for one in self._upstreams}
        return {
            name: Measured(
                throughput=_throughput(await self._records.answered(name, since=since), day),
                cost=None if name in upstreams else _cost(lines.get(name), day),
            )
            for name in names
        }


def _throughput(answered: Answered, since: date) -> Throughput | None:
    """Requests that were answered side by side count one after the other: a target that was busy did better."""
    if not answered.tokens and not answered.streams:
        return None
    return Throughput(
        tokens=answered.tokens,
        seconds=answered.seconds,
        source=f"{answered.tokens} tokens in {answered.seconds:.1f} s of answering since {since}, request by request",
        first_token=answered.first_byte / answered.streams if answered.streams else None,
    )


def _cost(line: CostLine | None, since: date) -> MeasuredCost | None:
    """What use cost; None where nothing was answered, or no price was known for any of the time."""
    if line is None or not line.requests or line.seconds <= line.unpriced:
        return None
    source = f"${line.total:.6f} charged since {since}, for {line.requests} requests"
    if line.unpriced:
        source += f"; of {line.unpriced:.0f} of {line.seconds:.0f} s no price was known, and these are not in it"
    return MeasuredCost(
        dollars=line.total,
        requests=line.requests,
        tokens_in=line.tokens_in,
        tokens_out=line.tokens_out,
        source=source,
    )
