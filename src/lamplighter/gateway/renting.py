"""Whether a request is answered by an upstream for its price, instead of waking an endpoint for its own."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from lamplighter.control.demand import Demand
from lamplighter.domain.choosing import fits
from lamplighter.domain.renting import Rent, cheaper_to_rent, cost_of_tokens, cost_of_wake
from lamplighter.domain.routing import RouteTarget, TokenPrice
from lamplighter.gateway.plan import Plan
from lamplighter.gateway.router import Routing

if TYPE_CHECKING:
    from lamplighter.gateway.exchange import Exchange


class Renting:
    """Keeps what each route has spent on upstreams while its endpoint slept."""

    def __init__(self, demand: Demand, routing: Routing) -> None:
        self._demand = demand
        self._rents: dict[str, Rent] = {}
        self.take(routing)

    def take(self, routing: Routing) -> None:
        """Take other prices and routes. What was spent stays with its route."""
        self._routing = routing
        self._rents = {name: self._rents.get(name) or Rent() for name, route in routing.routes.items() if route.rent}

    def rents(self, x: Exchange, plan: Plan, endpoint: str) -> bool:
        """Whether this request is to leave the endpoint asleep. Needs the prices of both, else it is woken."""
        rent, price = self._rents.get(plan.route.name), self._routing.prices.get(endpoint)
        upstream = self._price_of_upstream(x, plan)
        if rent is None or price is None or upstream is None:
            return False
        wake = cost_of_wake(price, start=self._demand.expected_wait(endpoint), tail=self._demand.idle_timeout(endpoint))
        x.rented = cheaper_to_rent(wake=wake, spent=rent.spent(monotonic()), request=_estimate(upstream, x))
        if not x.rented:
            rent.settle()
        return x.rented

    def note(self, x: Exchange) -> None:
        """A request was answered, as far as it was, while the endpoint slept: remember what that cost."""
        rent = self._rents.get(x.way.name)
        if rent is None or x.plan is None or x.first_byte_at is None:
            return
        price = self._price(x, x.plan.current)
        if price is not None:
            told = cost_of_tokens(price, tokens_in=x.tokens_in, tokens_out=x.tokens_out)
            rent.add(told or _estimate(price, x), monotonic())

    def _price_of_upstream(self, x: Exchange, plan: Plan) -> TokenPrice | None:
        """Of the first target that is always on and serves such a request."""
        if not x.is_posted:
            return None
        able = (target for target in plan.order if target.is_upstream and fits(target.fit, x.demands) is None)
        first = next(able, None)
        return self._price(x, first) if first is not None else None

    def _price(self, x: Exchange, target: RouteTarget) -> TokenPrice | None:
        """What a target charges, by the configuration, or as its own name of the model is priced elsewhere."""
        upstream = self._routing.upstreams.get(target.name)
        if upstream is None:
            return None
        return self._routing.token_price(upstream, target.model or upstream.model or x.way.name)


def _estimate(price: TokenPrice, x: Exchange) -> float:
    """What a request may cost, as long as its answer has not told."""
    demands = x.demands
    tokens_out = max(demands.answer, x.events)
    return cost_of_tokens(price, tokens_in=demands.tokens - demands.answer, tokens_out=tokens_out)
