"""By what hours are charged: prices, how providers bill, and whose days count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from lamplighter.control.clock import Clock
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.ledger import Prices
from lamplighter.domain.money import nanos
from lamplighter.domain.prices import Change
from lamplighter.domain.timeline import micros
from lamplighter.providers.base import Provider
from lamplighter.store.charging import Terms


class Pricing(Protocol):
    """What endpoints cost: `PriceBook` is one."""

    def changes(self, endpoint: str, since: float, until: float) -> Sequence[Change]:
        """What an hour of one replica cost in a time: from `since` on the first one, then each from its moment on."""


class PricedFleet(Protocol):
    """What costs need of the fleet."""

    @property
    def providers(self) -> Mapping[str, Provider]: ...

    def places(self) -> Mapping[str, str]:
        """The name of each endpoint's provider, by its own."""


class Tariffs:
    """By what hours are charged now: what the price book says, and how each provider bills."""

    def __init__(self, fleet: PricedFleet, prices: Pricing, calendar: Calendar, clock: Clock) -> None:
        self._fleet = fleet
        self._prices = prices
        self._clock = clock
        self.calendar = calendar
        """Whose days count."""

    def terms(self, names: Iterable[str]) -> Terms:
        """For these endpoints."""
        until = self._clock.wall() + 1.0
        return Terms(
            calendar=self.calendar,
            prices={name: _steps(self._prices.changes(name, 0.0, until)) for name in names},
            rules={name: provider.capabilities.billing for name, provider in self._fleet.providers.items()},
            providers=self._fleet.places(),
        )


def _steps(changes: Sequence[Change]) -> Prices:
    return [(micros(one.at), None if one.quote is None else nanos(one.quote.amount)) for one in changes]
