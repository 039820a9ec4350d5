"""From the name of a model to its route."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field

from lamplighter.control.demand import Demand
from lamplighter.domain.routing import BreakerPolicy, Repeat, RetryPolicy, Route, RouteTarget, TokenPrice, Upstream
from lamplighter.errors import EndpointNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What the configuration says of routes.

    `prices` are those of endpoints, in $ per hour awake, all replicas together; it may be a view of what changes.
    `token_price` tells what an upstream charges for a model that it knows by a name, None for its own one. `sleeps_in`
    tells in how many seconds an endpoint will be put to sleep if nothing comes; None: it is held awake. `breaker` None:
    no target is left alone for its failures.
    """

    routes: Mapping[str, Route] = field(default_factory=dict)
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    token_price: Callable[[Upstream, str | None], TokenPrice | None] = lambda upstream, _model: upstream.price
    sleeps_in: Callable[[str], float | None] = lambda _endpoint: None
    breaker: BreakerPolicy | None = field(default_factory=BreakerPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)


IMPLIED_ATTEMPTS = 2
"""An endpoint that can't be reached is claimed once more, which wakes it."""

_MAX_IMPLIED = 8192


class Router:
    """Configured routes come first; beside them every endpoint is a route of its own."""

    def __init__(self, demand: Demand, routing: Routing) -> None:
        self._demand = demand
        self._implied: dict[str, Route] = {}
        self._routes: dict[str, Route] = {}
        self._named: dict[str, Route] = {}
        self.take(routing)

    def take(self, routing: Routing) -> None:
        """Take other routes; requests that are under way keep theirs."""
        self._named = {name: with_kinds(route, routing.upstreams) for name, route in routing.routes.items()}
        aliases = {alias: route for route in self._named.values() for alias in route.aliases}
        self._routes = aliases | self._named

    @property
    def routes(self) -> Sequence[Route]:
        """The configured ones."""
        return tuple(self._named.values())

    def find(self, model: str, *, known: Collection[str] = ()) -> Route:
        """The route behind a name that clients use. Raises EndpointNotFound, which tells what is `known` to who asks.

        Nothing given: all names.
        """
        route = self._routes.get(model)
        if route is not None:
            return route
        endpoint = self._demand.resolve(model)
        if endpoint is None:
            raise EndpointNotFound(model, known or [*self._routes, *self._demand.known()])
        return self._implied.get(endpoint) or self.implied(endpoint)

    def implied(self, endpoint: str) -> Route:
        """The route that an endpoint has by itself: it alone, and a request waits for it."""
        route = self._implied.get(endpoint)
        if route is None:
            if len(self._implied) >= _MAX_IMPLIED:
                self._implied.clear()
            route = Route(
                name=endpoint,
                tiers=((RouteTarget(name=endpoint),),),
                max_attempts=IMPLIED_ATTEMPTS,
                repeat=Repeat.NOT_EXECUTED,
                implied=True,
            )
            self._implied[endpoint] = route
        return route


def with_kinds(route: Route, upstreams: Container[str]) -> Route:
    """The route with each target known as what it is: an endpoint may come to have the name of an upstream."""
    tiers = tuple(
        tuple(dataclasses.replace(target, is_upstream=target.name in upstreams) for target in tier)
        for tier in route.tiers
    )
    return dataclasses.replace(route, tiers=tiers)
