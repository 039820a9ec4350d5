"""A request's right to a target: at once where it is awake, else by waiting as long as the route lets it."""

from __future__ import annotations

from math import inf
from time import monotonic

from lamplighter.control.demand import Caller, Claim
from lamplighter.domain.routing import WhileWaking
from lamplighter.errors import BudgetSpent, EndpointBusy, QueueFull, Unavailable, WakeTimeout
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.feedback import hold_with_feedback, is_wanted
from lamplighter.gateway.plan import Plan
from lamplighter.gateway.standing import TargetState

TIMER_SLACK = 0.002
"""By how much a timer may go off too soon: uvloop's clock counts milliseconds (seconds)."""

_RESERVE = 30.0
"""How much of a deadline is kept for the targets behind one that is waited for (seconds); half of a short one."""


class Waking(Unavailable):
    """The target is asleep, and this request does not wait for it, or no longer."""

    code = "target_waking"


class Occupied(EndpointBusy):
    """The target is awake with every slot taken, and this request does not wait for it, or no longer."""


def claim_at_once(x: Exchange, state: TargetState) -> Claim | None:
    """A claim without any waiting, or None. The way of most requests."""
    if state.replica is None:
        return x.services.demand.try_claim(x.endpoint)
    return None if state.is_full() or _why_not_paid(x) is not None else state.claim()


def _why_not_paid(x: Exchange) -> BudgetSpent | None:
    """Why an upstream may not be asked, where it is known to charge by use and a budget leaves nothing."""
    refused = x.services.spent.by_use(x.endpoint, x.key.id)
    return refused if refused is not None and x.services.renting.charges(x) else None


async def claim(x: Exchange, plan: Plan, state: TargetState) -> None:
    """Claim the plan's current target.

    Raises Waking and Occupied for one that this request is not to wait for, QueueFull for an upstream that takes no
    more, BudgetSpent for one that charges what nobody has left, and what `Demand.claim` raises.
    """
    upstream = state.replica is not None
    if upstream or plan.route.while_waking is not WhileWaking.HOLD or not plan.missed(x.endpoint):
        x.claim = claim_at_once(x, state)
        if x.claim is not None:
            return
    if upstream:
        if (refused := _why_not_paid(x)) is not None:
            raise refused
        raise QueueFull(f"{state.in_flight} requests are under way there; that is the limit.", retry_after=1.0)
    await claim_as_the_route_waits(x, plan)


async def claim_as_the_route_waits(x: Exchange, plan: Plan) -> None:
    """Wait for the plan's current target as long as the route has a request wait for it. Raises as `claim` does."""
    x.rented = x.rented and not plan.is_last_hope
    patience = patience_of(x, plan) if _raise_demand(x, plan) else 0.0
    if patience <= 0.0:
        raise _turned_down(x, plan)
    began = monotonic()
    try:
        await claim_by_waiting(x, patience)
    except (WakeTimeout, EndpointBusy):
        if monotonic() - began < patience - TIMER_SLACK:
            raise  # all of its time is over, or the endpoint's own
        raise _turned_down(x, plan) from None
    if plan.route.rent and x.endpoint == plan.woken:
        x.services.renting.woken(plan.route)


async def claim_by_waiting(x: Exchange, patience: float = inf) -> Claim:
    """Wait for an awake endpoint, for `patience` seconds at most if that is less than its own time."""
    x.hold_body()
    x.may_last()
    x.watch()
    began = monotonic()
    left = _within(x, patience)
    if x.trace is not None:
        x.trace.waiting(x.endpoint)
    try:
        claim = x.services.demand.claim(x.endpoint, left, _caller(x))
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


def _within(x: Exchange, patience: float) -> float | None:
    """The time for a claim: what is left of the request's own, patience, and what the endpoint has for a wake.

    None leaves it to the endpoint. Only a client may ask to be held for longer than that.
    """
    left = x.time_left()
    if left is None and patience == inf:
        return None
    bounds = [patience, inf if left is None else left]
    if x.hold_timeout is None:
        bounds.append(x.services.demand.wake_timeout(x.endpoint))
    return min(bounds)


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


def patience_of(x: Exchange, plan: Plan) -> float:
    """Seconds that the request waits for the current target, which is asleep or busy; inf for all that it may wait."""
    return inf if plan.route.implied else min(_wish_to_wait(x, plan), _time_for(x, plan))


def _raise_demand(x: Exchange, plan: Plan) -> bool:
    """Say that the endpoint is wanted, also where nobody waits for it. False where renting is cheaper.

    The first target of a route alone is woken like this, so that a sleeping chain does not wake as a whole.
    """
    demand, name = x.services.demand, x.endpoint
    if plan.route.implied or not plan.first_round or demand.is_awake(name):
        return True
    if x.rented or (name == plan.woken and x.services.renting.rents(x, plan, name)):
        return False
    wakes = name == plan.woken and plan.route.while_waking is not WhileWaking.HOLD and x.key.may_wake
    if wakes and demand.want(name, _caller(x)) and plan.route.rent:
        x.services.renting.woken(plan.route)
    return True


def _wish_to_wait(x: Exchange, plan: Plan) -> float:
    """How long the route has a request wait for the current target (seconds)."""
    route = plan.route
    if route.while_waking is WhileWaking.FAIL:
        return 0.0
    if plan.is_last_hope or route.while_waking is WhileWaking.HOLD or len(plan.order) == 1:
        return inf
    expected = x.services.demand.expected_wait(x.endpoint)
    return route.bridge_after if x.endpoint == plan.woken and expected <= route.bridge_after else 0.0


def _time_for(x: Exchange, plan: Plan) -> float:
    """How long it can wait (seconds): within a deadline some time is kept for the targets behind this one."""
    left, deadline = x.time_left(), plan.route.deadline
    if left == 0.0:  # whoever allows no time at all wakes the first one all the same, and is told so
        return inf if plan.first_round and x.endpoint == plan.woken else 0.0
    if left is None or deadline is None or not plan.has_more:
        return inf
    most = plan.route.first_byte_timeout
    return max(0.0, left - min(_RESERVE if most is None else most, deadline / 2))


def _turned_down(x: Exchange, plan: Plan) -> Unavailable:
    """Why this request waits no longer."""
    demand, name = x.services.demand, x.endpoint
    wait = demand.expected_wait(name)
    if demand.is_awake(name):
        return Occupied(f"Endpoint {name!r} is awake, and all of its slots are taken.", retry_after=wait)
    if x.rented:
        return Waking(f"Endpoint {name!r} is asleep, and waking it would cost more than this answer elsewhere.")
    if not x.key.may_wake:
        return Waking(f"Endpoint {name!r} is asleep, and this key may not wake it.", retry_after=wait)
    woken = ", and on its way" if name == plan.woken else ""
    return Waking(f"Endpoint {name!r} is asleep{woken}.", retry_after=wait)


def _caller(x: Exchange) -> Caller:
    key = x.key
    return Caller(key=key.id, priority=key.priority, may_wake=key.may_wake, route=x.way.name)
