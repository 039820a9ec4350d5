"""What an endpoint would have cost at other idle timeouts, or always on: its requests on record, played again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostLine, CostQuery, CostReport, Dimension
from lamplighter.control.prices import Priced
from lamplighter.control.reports import USUAL
from lamplighter.domain.breakeven import Amount, Pattern
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.days import NamedDay
from lamplighter.domain.endpoint import Endpoint, State
from lamplighter.domain.ledger import EXACT
from lamplighter.domain.money import BillingRule
from lamplighter.domain.what_if import Booked, Replay, Setting, as_it_was
from lamplighter.errors import InvalidInput
from lamplighter.providers.base import Provider
from lamplighter.store.using import Spell

_DAY = 86400.0


class WhatIfFleet(Protocol):
    """Knows the endpoints, and where they are: `Fleet` is one."""

    def endpoint(self, name: str) -> Endpoint:
        """Raises EndpointNotFound."""

    @property
    def providers(self) -> Mapping[str, Provider]: ...


class WhatIfCosts(Protocol):
    """Knows what was charged: `Costs` is one."""

    @property
    def calendar(self) -> Calendar: ...

    async def report(self, query: CostQuery) -> CostReport: ...


class WhatIfRequests(Protocol):
    """Knows when requests were answered: `Stock` is one."""

    async def spells(
        self, targets: Sequence[str], *, route: str | None = None, since: float, until: float
    ) -> list[Spell]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """What `endpoint` has cost from the day `since` on, before `until`, up to the Unix time `at`; and would have.

    `seconds` are those of billed replicas. `timeouts` are under other idle timeouts and its own, the shortest first.
    `start` is how long a start is taken to last, None: never measured. `assumptions` are sentences.
    """

    endpoint: str
    since: date
    until: date | None
    time_zone: str
    at: float
    requests: int
    amount: Amount
    seconds: float
    always: Setting
    timeouts: Sequence[Setting]
    idle_timeout: float | None
    start: float | None
    price: Priced | None
    assumptions: Sequence[str]


class WhatIf:
    """Plays requests again. `kept_for` is how long they are on record (seconds), `price` what an endpoint costs now."""

    def __init__(
        self,
        fleet: WhatIfFleet,
        costs: WhatIfCosts,
        requests: WhatIfRequests,
        clock: Clock,
        *,
        price: Callable[[str], Priced | None],
        kept_for: float,
    ) -> None:
        self._fleet = fleet
        self._costs = costs
        self._requests = requests
        self._clock = clock
        self._price = price
        self._kept_for = kept_for

    async def suppose(
        self, name: str, *, since: NamedDay | None, until: NamedDay | None, timeouts: Collection[float]
    ) -> Supposed:
        """Tell what was, what always on would have been, and what under the usual timeouts, its own and these.

        Without `since`: the 30 days before the end. Raises EndpointNotFound, InvalidInput, StoreError.
        """
        endpoint = self._fleet.endpoint(name)
        now = self._clock.wall()
        first, end = self._days(since, until, now)
        calendar = self._costs.calendar
        begin = float(calendar.begin_of(first))
        over = now if end is None else min(now, float(calendar.begin_of(end)))
        own = endpoint.spec.name
        spells = await self._requests.spells([own], since=begin, until=over)
        query = CostQuery(by=(Dimension.ENDPOINT,), since=first, until=end, endpoints=frozenset({own}))
        report = await self._costs.report(query)
        booked = _booked(report.total)
        replay = await asyncio.to_thread(self._replay, endpoint, spells, over - begin)  # a long history takes a while
        return Supposed(
            endpoint=own,
            since=first,
            until=end,
            time_zone=calendar.name,
            at=report.at,
            requests=sum(one.requests for one in spells),
            amount=as_it_was(booked),
            seconds=booked.seconds,
            always=replay.always(booked, over - begin),
            timeouts=replay.each(timeouts),
            idle_timeout=replay.own,
            start=endpoint.expected_start,
            price=self._price(own),
            assumptions=self._assumptions(endpoint),
        )

    def _days(self, since: NamedDay | None, until: NamedDay | None, now: float) -> tuple[date, date | None]:
        """From when until when; not longer ago than requests are on record."""
        calendar = self._costs.calendar
        today = calendar.day_of(int(now))
        end = None if until is None else until.on(today)
        first = (end or today + timedelta(days=1)) - USUAL if since is None else since.on(today)
        oldest = calendar.day_of(int(now - self._kept_for)) + timedelta(days=1)
        first = min(today, oldest) if first is None else max(first, min(today, oldest))
        if end is not None and first >= end:
            text = f"until: {end} is not after {first}; it is the day before which the time ends."
            raise InvalidInput(text, field="until")
        if first > today:
            raise InvalidInput(f"since: {first} is yet to come; nothing was asked then.", field="since")
        return first, end

    def _replay(self, endpoint: Endpoint, spells: Sequence[Spell], window: float) -> Replay:
        spec, price = endpoint.spec, self._price(endpoint.spec.name)
        return Replay(
            pattern=Pattern(((one.begin, one.end) for one in spells), window) if spells else None,
            per_hour=None if price is None else price.amount * spec.replicas,
            replicas=spec.replicas,
            start=endpoint.expected_start or 0.0 if self._bills_starts(endpoint) else 0.0,
            own=None if spec.policy.keep_warm else spec.policy.idle_timeout,
        )

    def _rule(self, endpoint: Endpoint) -> BillingRule:
        provider = self._fleet.providers.get(endpoint.spec.provider)
        return EXACT if provider is None else provider.capabilities.billing

    def _bills_starts(self, endpoint: Endpoint) -> bool:
        return State.INITIALIZING in self._rule(endpoint).billed

    def _assumptions(self, endpoint: Endpoint) -> tuple[str, ...]:
        rule, start = self._rule(endpoint), endpoint.expected_start
        billed = "and is" if self._bills_starts(endpoint) else "which is not"
        return (
            "Other idle timeouts are estimates: the requests on record are played again as they came.",
            "The price is that of now, for all replicas.",
            "The start was never measured, and is not counted."
            if start is None
            else f"Each cold start lasts {start:.3g} s, {billed} billed.",
            "Only requests that were answered count: not wakes by hand, sessions, or what kept it awake otherwise.",
            *(("What the provider rounds up is not counted.",) if rule.step or rule.minimum else ()),
            f"Requests are on record for {self._kept_for / _DAY:.3g} days; what is older is left out.",
        )


def _booked(line: CostLine) -> Booked:
    awake = line.cold_start + line.serving + line.idle
    return Booked(
        paid=awake,
        always=None if line.saved is None else line.saved + awake,
        seconds=float(line.seconds),
        unpriced=float(line.unpriced),
    )
