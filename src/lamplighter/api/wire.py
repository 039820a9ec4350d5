"""What the management routes answer. What stands under each field is its description in the OpenAPI document, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from lamplighter.control.prices import Priced
from lamplighter.control.routebook import RouteBook
from lamplighter.control.spending import Spent, Today
from lamplighter.domain.endpoint import Endpoint, Phase, State
from lamplighter.domain.prices import money
from lamplighter.domain.routing import Route

BreakerWord: TypeAlias = Literal["closed", "open", "half-open"]


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class EndpointStatus(_Wire):
    """How an endpoint is now. Moments are Unix seconds, durations seconds; null where there is nothing to say."""

    name: str
    """Its name: what a client gives as `model`."""
    status: Phase
    """In one word: `unknown` when its provider can't be asked."""
    url: str
    """Where its requests go. Always usable: a request there wakes the endpoint and is held until it is ready."""
    last_activity: float | None
    """When the last request ended."""
    wake_time: float | None
    """When it was last found awake."""
    sleep_time: float | None
    """When it was last found asleep."""
    auto_sleep_in: float | None
    """Counts down to being put to sleep; null when asleep, held awake, or never put to sleep by itself."""
    state: State | None
    """What its provider said last."""
    state_age: float | None
    """How long ago the provider said so."""
    message: str | None
    """What there is to add: the progress of a start, the reason of a failure."""
    model: str | None
    """The model it runs."""
    task: str | None
    """What it does, such as `text-generation`."""
    engine: str
    """What runs the model."""
    provider: str
    """Where it lives."""
    aliases: list[str]
    """Further model names that lead to it."""
    replicas_ready: int
    """How many copies answer requests now."""
    replicas: int
    """How many copies there are when it is awake."""
    in_flight: int
    """Requests being answered."""
    waiting: int
    """Requests held until it is awake."""
    held_by: list[str]
    """What keeps it from being put to sleep."""
    idle_timeout: float | None
    """After how long without a request it is put to sleep; null for never."""
    starting_for: float | None
    """How long the start under way has taken."""
    expected_start: float | None
    """How long earlier starts took."""
    breaker: BreakerWord | None = None
    """Whether requests go there: not while it is `open`, and single ones while it is `half-open`; null: never asked."""
    paused: bool = False
    """Whether it was paused: no request wakes it until it is resumed."""
    deployed: bool = False
    """Whether it was made over the management API, and can be deleted there; else it stands in the configuration."""
    price_per_hour: float | None = None
    """What an hour of one copy costs in $ while it is awake; null where nobody told."""
    price_source: str | None = None
    """Who said so."""
    price_estimate: bool = False
    """Whether less or more may be paid."""
    billed: bool = False
    """Whether its provider bills the state that it is in; an hour then costs the price of each copy."""
    cost_today: str | None = None
    """What it has cost today in $, an exact decimal some seconds old; null where no price is known."""
    saved_today: str | None = None
    """What staying awake today would have cost on top in $; below 0 where sleeping cost more."""

    @classmethod
    def of(
        cls,
        endpoint: Endpoint,
        base: str,
        breaker: str | None = None,
        price: Priced | None = None,
        spent: Spent | None = None,
        *,
        billed: bool = False,
    ) -> EndpointStatus:
        """Describe `endpoint`, on the server that clients call `base`."""
        spec = endpoint.spec
        return cls(
            name=spec.name,
            status=endpoint.phase,
            url=f"{base.rstrip('/')}/endpoints/{spec.name}",
            last_activity=endpoint.last_activity,
            wake_time=endpoint.wake_time,
            sleep_time=endpoint.sleep_time,
            auto_sleep_in=endpoint.auto_sleep_in,
            state=endpoint.state,
            state_age=endpoint.state_age,
            message=endpoint.message,
            model=spec.engine.model,
            task=spec.task,
            engine=spec.engine.engine,
            provider=spec.provider,
            aliases=list(spec.aliases),
            replicas_ready=len(endpoint.replicas),
            replicas=spec.replicas,
            in_flight=endpoint.in_flight,
            waiting=endpoint.waiting,
            held_by=list(endpoint.held_by),
            idle_timeout=spec.policy.idle_timeout,
            starting_for=endpoint.starting_for,
            expected_start=endpoint.expected_start,
            breaker=_word(breaker),
            paused=endpoint.paused,
            deployed=spec.deployed,
            price_per_hour=None if price is None else float(price.amount),
            price_source=None if price is None else price.source,
            price_estimate=price is not None and price.estimate,
            billed=billed,
            cost_today=None if spent is None else money(spent.cost),
            saved_today=None if spent is None else money(spent.saved),
        )


class TargetStatus(_Wire):
    """Where a route leads."""

    name: str
    """The endpoint's or upstream's name."""
    kind: Literal["endpoint", "upstream"]
    """An upstream is a model API that is always on."""
    tier: int
    """The lowest is tried first; those of one number are equals, and share the requests."""
    breaker: BreakerWord | None
    """Whether requests go there, as an endpoint's `breaker` says; null: never asked."""


class RouteStatus(_Wire):
    """A configured route. Beside them every endpoint is a route of its own."""

    name: str
    """What a client gives as `model`."""
    aliases: list[str]
    """Further model names that lead to it."""
    targets: list[TargetStatus]
    """Where its requests go, in order."""

    @classmethod
    def of(cls, route: Route, book: RouteBook, breakers: Mapping[str, str]) -> RouteStatus:
        """Describe `route`."""
        targets = [
            TargetStatus(
                name=target.name,
                kind="upstream" if book.is_upstream(target.name) else "endpoint",
                tier=tier,
                breaker=_word(breakers.get(target.name)),
            )
            for tier, equals in enumerate(route.tiers)
            for target in equals
        ]
        return cls(name=route.name, aliases=list(route.aliases), targets=targets)


def routes_of(routes: Iterable[Route], book: RouteBook, breakers: Mapping[str, str]) -> list[RouteStatus]:
    """Describe `routes`."""
    return [RouteStatus.of(route, book, breakers) for route in routes]


def _word(breaker: str | None) -> BreakerWord | None:
    for word in ("closed", "open", "half-open"):
        if breaker == word:
            return word
    return None


class _One(_Wire):
    success: Literal[True] = True
    """Always true here."""
    endpoint: EndpointStatus
    """How it is now."""


class OneStatus(_One):
    """One endpoint."""

    routes: list[RouteStatus]
    """The configured routes that lead to it, or have its name."""


class _All(_Wire):
    success: Literal[True] = True
    """Always true here."""
    endpoints: dict[str, EndpointStatus]
    """How they are now, by name."""


class TodayStatus(_Wire):
    """What all endpoints have come to today; also those that are here no more."""

    day: date
    """Which day that is."""
    time_zone: str
    """Whose day."""
    at: float
    """Up to when that counts, in Unix seconds."""
    cost: str
    """What was paid in $, an exact decimal."""
    saved: str
    """What staying awake would have cost on top in $."""

    @classmethod
    def of(cls, today: Today | None) -> TodayStatus | None:
        """Describe it, where it is known."""
        if today is None:
            return None
        cost, saved = money(today.total.cost), money(today.total.saved)
        return cls(day=today.day, time_zone=today.time_zone, at=today.at, cost=cost, saved=saved)


class AllStatuses(_All):
    """All endpoints, and all routes."""

    routes: list[RouteStatus]
    """The configured ones, by name."""
    today: TodayStatus | None = None
    """What was spent today; null where that is not known yet. `/api/cost` tells more."""


class OneBegun(_One):
    """What was begun with one endpoint."""

    operation: Literal["wake", "sleep"]
    """What was asked for."""
    done: bool
    """Whether it is there already; else the operation goes on."""


class AllBegun(_All):
    """What was begun with all endpoints."""

    operation: Literal["wake", "sleep"]
    """What was asked for."""
    done: bool
    """Whether all are there already; else the operation goes on."""
