"""Where a request costs less: at an upstream for its price, or at an endpoint for its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from lamplighter.control.demand import Demand
from lamplighter.domain.choosing import Bid, Standing, as_it_stands, by_cost, fits
from lamplighter.domain.renting import (
    Arrivals,
    Rent,
    cheaper_to_rent,
    cost_asleep,
    cost_awake,
    cost_of_tokens,
    cost_of_wake,
)
from lamplighter.domain.routing import Choose, Route, RouteTarget, TokenPrice
from lamplighter.errors import EndpointNotFound
from lamplighter.gateway.plan import Plan
from lamplighter.gateway.router import Routing, with_kinds

if TYPE_CHECKING:
    from lamplighter.gateway.exchange import Exchange


_MOST_TOLD = 5
"""Of so many targets an answer tells what was expected of them."""


class Renting:
    """Keeps what each route has spent on upstreams while its endpoint slept, and how many requests it had of late."""

    def __init__(self, demand: Demand, routing: Routing) -> None:
        self._demand = demand
        self._rents: dict[str, Rent] = {}
        self._arrivals: dict[str, Arrivals] = {}
        self.take(routing)

    def take(self, routing: Routing) -> None:
        """Take other prices and routes. What was spent stays with its route."""
        self._routing = routing
        self._rents = {name: self._rents.get(name) or Rent() for name, route in routing.routes.items() if route.rent}
        self._choosing = [
            with_kinds(route, routing.upstreams) for route in routing.routes.values() if route.choose is Choose.CHEAPEST
        ]
        self._arrivals = {one.name: self._arrivals.get(one.name) or Arrivals() for one in self._choosing}

    def plan(self, x: Exchange, route: Route) -> Plan:
        """The attempts of a request that goes where it is expected to cost least."""
        now, arrivals = monotonic(), self._arrivals.get(route.name)
        if arrivals is None:  # a reload has taken the route out
            arrivals = Arrivals()
        out = _tokens_out(x, arrivals)
        bids = [self._bid(x, target, arrivals.rate(now), out) for target in route.targets]
        arrivals.come(now)
        sticky = x.request.header(route.sticky.encode()) if route.sticky is not None else None
        text = None if sticky is None else sticky.decode("latin-1")
        x.choice = by_cost(bids, x.services.standings.look_closely, sticky=text, draw=random.random())  # noqa: S311
        return Plan(route, tuple(bid.target for bid in x.choice))

    def expected(
        self, name: str, tokens: tuple[int, int] | None, standing: Callable[[RouteTarget], Standing]
    ) -> Mapping[str, Sequence[Bid]]:
        """What a request would be expected to cost now, in the order in which its targets would be tried.

        `tokens` are those in and out; None: not known, so that upstreams can't be compared. By route: those of this
        name, or that lead to it, and choose by cost.
        """
        now, found = monotonic(), dict[str, Sequence[Bid]]()
        for route in self._choosing:
            arrivals = self._arrivals[route.name]
            if route.name != name and all(one.name != name for one in route.targets):
                continue
            rate = arrivals.rate(now)
            bids = [self._expected(route, target, rate, tokens) for target in route.targets]
            tried = by_cost(bids, standing, sticky=None, draw=0.0)
            first = {bid.target for bid in tried}
            rest = [as_it_stands(bid, standing(bid.target)) for bid in bids if bid.target not in first]
            found[route.name] = [*tried, *rest]
        return found

    def _expected(self, route: Route, target: RouteTarget, rate: float, tokens: tuple[int, int] | None) -> Bid:
        if not target.is_upstream:
            return self.bid_of_endpoint(target, rate)
        price = self._price(route.name, target)
        if price is None:
            return Bid(target, None, "no-price")
        if tokens is None:
            return Bid(target, None, "no-tokens")
        return Bid(target, cost_of_tokens(price, tokens_in=tokens[0], tokens_out=tokens[1]), "tokens")

    def learn(self, x: Exchange) -> None:
        """Take from an answer how long answers are on its route."""
        arrivals = self._arrivals.get(x.way.name)
        if arrivals is not None and x.tokens_out:
            arrivals.answered(x.tokens_out, monotonic())

    def _bid(self, x: Exchange, target: RouteTarget, rate: float, tokens_out: float) -> Bid:
        """What this request is expected to cost at a target."""
        if not target.fit.is_any and fits(target.fit, x.demands) is not None:
            return Bid(target, None, "does-not-fit")
        if target.is_upstream:
            return self._bid_by_tokens(x, target, tokens_out)
        return self.bid_of_endpoint(target, rate)

    def _bid_by_tokens(self, x: Exchange, target: RouteTarget, tokens_out: float) -> Bid:
        if not x.is_posted:
            return Bid(target, None, "does-not-fit")
        price = self._price(x.way.name, target)
        if price is None:
            return Bid(target, None, "no-price")
        return Bid(target, cost_of_tokens(price, tokens_in=_tokens_in(x), tokens_out=round(tokens_out)), "tokens")

    def bid_of_endpoint(self, target: RouteTarget, rate: float) -> Bid:
        """What a request is expected to cost at an endpoint as it is now, with so many a second."""
        demand, name = self._demand, target.name
        in_use = demand.in_flight(name) > 0
        if in_use and demand.is_awake(name):
            return Bid(target, 0.0, "in-use")
        if demand.is_paused(name):
            return Bid(target, None, "paused")
        price = self._routing.prices.get(name)
        if price is None:
            return Bid(target, None, "no-price")
        try:
            wait, tail = demand.expected_wait(name), demand.idle_timeout(name)
        except EndpointNotFound:
            return Bid(target, None, "gone")
        wake = cost_of_wake(price, start=wait, tail=tail)
        asleep = inf if tail is None else cost_asleep(wake, lasts=wait + tail, rate=rate)
        if demand.is_awake(name):
            left = self._routing.sleeps_in(name)
            idle = 0.0 if left is None or tail is None else tail - left
            return Bid(target, cost_awake(price, idle_for=idle, asleep=asleep), "awake")
        if demand.is_starting(name):
            return Bid(target, 0.0, "starting")  # its wake is paid, whoever comes
        return Bid(target, asleep, "asleep")

    def rents(self, x: Exchange, plan: Plan, endpoint: str) -> bool:
        """Whether this request is to leave the endpoint asleep. Needs the prices of both, else it is woken."""
        rent, price = self._rents.get(plan.route.name), self._routing.prices.get(endpoint)
        upstream = self._price_of_upstream(x, plan)
        if rent is None or price is None or upstream is None:
            return False
        wake = cost_of_wake(price, start=self._demand.expected_wait(endpoint), tail=self._demand.idle_timeout(endpoint))
        if self._demand.is_starting(endpoint):
            rent.settle()
        x.rented = cheaper_to_rent(wake=wake, spent=rent.spent(monotonic()), request=_estimate(upstream, x))
        return x.rented

    def woken(self, route: Route) -> None:
        """The endpoint of a route is on its way up, or came up: what was rented in place of that is settled."""
        rent = self._rents.get(route.name)
        if rent is not None:
            rent.settle()

    def note(self, x: Exchange) -> None:
        """A request was answered, as far as it was, while the endpoint slept: remember what that cost."""
        rent = self._rents.get(x.way.name)
        if rent is None or x.plan is None or x.first_byte_at is None:
            return
        price = self._price(x.way.name, x.plan.current)
        if price is not None:
            told = cost_of_tokens(price, tokens_in=x.tokens_in, tokens_out=x.tokens_out)
            rent.add(told or _estimate(price, x), monotonic())

    def charged(self, x: Exchange) -> int:
        """What the target that answered charges for the tokens that it told, in nanodollars; 0 where it does not."""
        if x.endpoint not in self._routing.upstreams:
            return 0
        price = self._price_of(x)
        return 0 if price is None else price.nanodollars(x.tokens_in, x.tokens_out)

    def charges(self, x: Exchange) -> bool:
        """Whether it is known that the current target, an upstream, charges for tokens."""
        price = self._price_of(x)
        return price is not None and (price.input > 0 or price.output > 0)

    def _price_of(self, x: Exchange) -> TokenPrice | None:
        """Of the current target: a route may lead to one upstream under several names of the model."""
        return None if x.plan is None else self._price(x.way.name, x.plan.current)

    def _price_of_upstream(self, x: Exchange, plan: Plan) -> TokenPrice | None:
        """Of the first target that is always on and serves such a request."""
        if not x.is_posted:
            return None
        able = (target for target in plan.order if target.is_upstream and fits(target.fit, x.demands) is None)
        first = next(able, None)
        return self._price(x.way.name, first) if first is not None else None

    def _price(self, route: str, target: RouteTarget) -> TokenPrice | None:
        """What a target charges, by the configuration, or as its own name of the model is priced elsewhere."""
        upstream = self._routing.upstreams.get(target.name)
        if upstream is None:
            return None
        return self._routing.token_price(upstream, target.model or upstream.model or route)


def _estimate(price: TokenPrice, x: Exchange) -> float:
    """What a request may cost, as long as its answer has not told."""
    demands = x.demands
    tokens_out = max(demands.answer, x.events)
    return cost_of_tokens(price, tokens_in=demands.tokens - demands.answer, tokens_out=tokens_out)


def _tokens_in(x: Exchange) -> int:
    demands = x.demands
    return demands.tokens - demands.answer


def _tokens_out(x: Exchange, arrivals: Arrivals) -> float:
    """How long the answer may be: as those of late, at most as the request allows; before any, as that or its own."""
    learned, most = arrivals.tokens_out, x.demands.answer
    if learned is None:
        return most or _tokens_in(x)
    return min(learned, most) if most else learned


def choice_told(bids: Sequence[Bid]) -> bytes:
    """What was expected of the targets, in the order in which they are tried: for a header."""
    told = [f"{_named(bid.target)}={_told(bid)}" for bid in bids[:_MOST_TOLD]]
    more = [f"and {len(bids) - _MOST_TOLD} more"] if len(bids) > _MOST_TOLD else []
    return "; ".join(["cheapest", *told, *more]).encode("ascii", "backslashreplace")


def _named(target: RouteTarget) -> str:
    """A route may lead to one upstream under several names of the model."""
    return target.name if target.model is None else f"{target.name} ({target.model})"


def _told(bid: Bid) -> str:
    return f"unknown {bid.why}" if bid.cost is None else f"{bid.cost:.3g} {bid.why}"
