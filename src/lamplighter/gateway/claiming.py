"""A request's right to a target: at once where it is awake, else by waiting as long as the route lets it."""

from __future__ import annotations

from time import monotonic

from lamplighter.control.demand import Caller, Claim
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.routing import Route, WhileWaking
from lamplighter.errors import EndpointBusy, QueueFull, Unavailable
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.feedback import hold_with_feedback, is_wanted
from lamplighter.gateway.plan import Plan
from lamplighter.gateway.standing import TargetState


class Waking(Unavailable):
    """The target is asleep, and this request does not wait for it."""

    code = "target_waking"


def claim_at_once(x: Exchange, state: TargetState) -> Claim | None:
    """A claim without any waiting, or None. The way of most requests."""
    if state.replica is None:
        return x.services.demand.try_claim(x.endpoint)
    return None if state.is_full() else state.claim()


async def claim(x: Exchange, plan: Plan, state: TargetState) -> None:
    """Claim the plan's current target.

    Raises Waking for one that this request is not to wait for, QueueFull for an upstream that takes no more, and what
    `Demand.claim` raises.
    """
    name = x.endpoint
    if state.replica is not None or plan.first_round or not plan.missed:
        x.claim = claim_at_once(x, state)
        if x.claim is not None:
            return
    if state.replica is not None:
        raise QueueFull(f"{state.in_flight} requests are under way there; that is the limit.", retry_after=1.0)
    patience = _patience(x, plan, name)
    if patience is None:
        await claim_by_waiting(x)
    elif patience > 0:
        await claim_by_waiting(x, patience)
    else:
        raise _turned_down(x, name)


async def claim_by_waiting(x: Exchange, patience: float | None = None) -> Claim:
    """Wait for an awake endpoint, for `patience` seconds at most if that is less than the request's own time."""
    x.hold_body()
    x.may_last()
    x.watch()
    began, left = monotonic(), x.time_left()
    if patience is not None:
        left = patience if left is None else min(left, patience)
    if x.trace is not None:
        x.trace.waiting(x.endpoint)
    try:
        claim = x.services.demand.claim(x.endpoint, left, _caller(x.key))
        x.claim = await (hold_with_feedback(x, claim) if is_wanted(x) else claim)
    except BaseException as error:
        x.waited += monotonic() - began
        if x.trace is not None:
            x.trace.not_granted(error)
        raise
    x.waited += x.claim.waited
    if x.trace is not None:
        x.trace.granted()
    return x.claim


async def claim_for_probe(x: Exchange) -> Claim:
    """A claim that wakes nothing and is no activity. One that asks to be held waits for it, any other does not.

    Raises Unavailable where the endpoint is not awake.
    """
    if x.hold_timeout is None:
        x.claim = await x.services.demand.await_awake(x.endpoint, 0.0)
        return x.claim
    x.may_last()
    x.watch()
    began = monotonic()
    try:
        x.claim = await x.services.demand.await_awake(x.endpoint, x.time_left() or 0.0)
    except BaseException:
        x.waited += monotonic() - began
        raise
    x.waited += x.claim.waited
    return x.claim


def _patience(x: Exchange, plan: Plan, name: str) -> float | None:
    """Seconds that the request waits for a target that is asleep or busy; None for all that it has.

    What it does not wait for is woken all the same: the first target of its route alone, so that a sleeping chain does
    not wake as a whole. Where renting is cheaper, nothing is.
    """
    route, demand = plan.route, x.services.demand
    first = plan.first_target(name)
    asleep = not demand.is_awake(name)
    if first and asleep and plan.first_round and x.services.renting.rents(x, plan, name):
        return 0.0
    if route.while_waking is WhileWaking.HOLD or _is_last_hope(route, plan):
        return None if first or x.time_left() != 0.0 else 0.0
    if first and asleep and x.key.may_wake:
        demand.want(name)
    if route.while_waking is WhileWaking.BRIDGE and first and demand.expected_wait(name) <= route.bridge_after:
        return route.bridge_after
    return 0.0


def _is_last_hope(route: Route, plan: Plan) -> bool:
    """Whether everything else was tried: a bridge that leads nowhere ends in waiting."""
    return route.while_waking is WhileWaking.BRIDGE and (not plan.first_round or len(plan.order) == 1)


def _turned_down(x: Exchange, name: str) -> Unavailable:
    """Why this request does not wait."""
    demand = x.services.demand
    wait = demand.expected_wait(name)
    if demand.is_awake(name):
        return EndpointBusy(f"Endpoint {name!r} is awake, and all of its slots are taken.", retry_after=wait)
    if x.rented:
        return Waking(f"Endpoint {name!r} is asleep, and waking it would cost more than this answer elsewhere.")
    on_its_way = " and on its way" if x.key.may_wake else ", and this key may not wake it"
    return Waking(f"Endpoint {name!r} is asleep{on_its_way}.", retry_after=wait)


def _caller(key: ApiKey) -> Caller:
    return Caller(key=key.id, priority=key.priority, may_wake=key.may_wake)
