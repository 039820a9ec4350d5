"""From target to target along a request's route, until one has an answer for the client.

Up to the first byte that goes to the client a failure leads on: to the next target, or to the same one again. After it
nothing is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from time import monotonic

from lamplighter.domain.choosing import demands_of, fits
from lamplighter.domain.retrying import is_failure, retry_after, was_refused
from lamplighter.domain.routing import Route, WhileWaking
from lamplighter.errors import (
    EndpointNotFound,
    EndpointPaused,
    Forbidden,
    InvalidInput,
    LamplighterError,
    QueueFull,
    RateLimited,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from lamplighter.gateway import asking, claiming
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.plan import Failure, Plan, plan_of
from lamplighter.gateway.standing import TargetState
from lamplighter.gateway.tokens import refuses_usage
from lamplighter.gateway.upstream import UpstreamConnection

log = logging.getLogger(__name__)

_REFUSED_KEY = frozenset({401, 403})
_REFUSED_QUESTION = frozenset({400, 422})
_LONGEST_REFUSAL = 64 * 1024
_COOL_DOWN = 1.0
"""For a target that answers 429 without saying when to come back (seconds)."""


class LeftAlone(Unavailable):
    """The target failed too often lately, or asked for a pause: it is not asked now."""

    code = "target_left_alone"


class DoesNotFit(InvalidInput):
    """The target can't serve such a request, whenever it is asked."""

    code = "does_not_fit"


def passes_on(x: Exchange) -> bool:
    """Whether the answer that is there goes to the client, as nearly all do. Notes how the target did."""
    upstream, state = x.upstream, x.state
    assert upstream is not None
    assert state is not None
    status = upstream.status
    if status < 401 or (status < 500 and status not in {401, 403, 429}):
        state.worked(x.started, x.trial)
        x.state = None
        return True
    return False


async def until_answered(x: Exchange) -> None:
    """Make attempts. Afterwards `x.upstream` has the head of the answer that goes to the client.

    Goes on from what was begun already. Raises what the client is to be told instead.
    """
    plan = x.plan = x.plan or plan_of(x, x.way)
    while True:
        failure = await _attempt(x, plan)
        if failure is None:
            return
        plan.fail(failure)
        if not await _goes_on(x, plan, failure):
            if x.has_answer and len(plan.failures) == 1:
                return  # nothing else was tried: the client gets what the target said
            raise plan.verdict()


async def _attempt(x: Exchange, plan: Plan) -> Failure | None:
    """One attempt at the plan's current target. None when there is an answer for the client."""
    try:
        if x.claim is None:
            _may_be_asked(x, plan)
            await claiming.claim(x, plan)
        plan.sent += 1
        await asking.ask(x)
        return await _judge(x, plan)
    except asyncio.CancelledError:
        why = x.interruption()
        if not isinstance(why, UpstreamTimeout):
            raise why from None
        return _failed(x, plan, why)
    except (Unavailable, EndpointPaused, EndpointNotFound, Forbidden, DoesNotFit, UpstreamError) as error:
        return _failed(x, plan, error)


def _may_be_asked(x: Exchange, plan: Plan) -> None:
    """Look at the target before anything is claimed. Raises LeftAlone, DoesNotFit."""
    target = plan.current
    x.endpoint = target.name
    if plan.route.implied:
        return
    state, now = x.services.standings.of(target.name), monotonic()
    if not state.admits(now):
        raise LeftAlone("it failed too often lately, or asked for a pause", retry_after=state.admitted_in(now))
    if not target.fit.is_any and (why := fits(target.fit, demands_of(x.body))) is not None:
        raise DoesNotFit(why)


async def _judge(x: Exchange, plan: Plan) -> Failure | None:
    """Whether what the target answered is a failure that another attempt may mend."""
    upstream, target = x.upstream, plan.current
    assert upstream is not None
    if x.asks_usage and upstream.status in _REFUSED_QUESTION and await _refuses_usage(x, upstream):
        return Failure(target.name, UpstreamError("it does not tell the usage of streams"), same_again=True)
    if passes_on(x):
        return None
    state, status, now = x.state, upstream.status, monotonic()
    assert state is not None
    x.state = None
    after = None
    if status == 429:
        after = retry_after(_header(x, b"retry-after"), time.time())
        state.leave_alone(now, _COOL_DOWN if after is None else after)
        state.abandoned(x.trial)
    elif is_failure(status):
        state.failed(now, x.trial)
        if x.claim is not None:
            x.claim.struggled()
    else:
        state.worked(now, x.trial)
    if plan.route.implied or (status in _REFUSED_KEY and state.replica is None) or status == 501:
        return None
    refused = was_refused(status) or status in _REFUSED_KEY
    error = _said(status, after)
    return Failure(target.name, error, executed=not refused, same_again=status not in _REFUSED_KEY)


async def _refuses_usage(x: Exchange, upstream: UpstreamConnection) -> bool:
    """Whether the target refused what we added to the request; then it gets the request as it came, now and later."""
    if not refuses_usage(upstream.status, await upstream.whole_within(_LONGEST_REFUSAL)):
        return False
    assert x.state is not None
    x.state.takes_usage = False
    x.state.worked(x.started, x.trial)
    x.state = None
    x.asks_usage, x.body = False, x.plain_body
    return True


def _said(status: int, after: float | None) -> LamplighterError:
    if status == 429:
        return RateLimited("it answered 429: too many requests", retry_after=after)
    if status in _REFUSED_KEY:
        return UpstreamError(f"it answered {status}: the key that is configured for it does not count there")
    return UpstreamError(f"it answered {status}")


def _failed(x: Exchange, plan: Plan, error: LamplighterError) -> Failure:
    """Note an attempt that gave no answer, and let go of all that it held."""
    state, target = x.state, plan.current
    if state is not None:
        if isinstance(error, UpstreamError):
            state.failed(monotonic(), x.trial)
        else:
            state.abandoned(x.trial)
        x.state = None
    x.give_up_attempt(error)
    log.log(
        logging.INFO if len(plan.order) > 1 else logging.DEBUG,
        "attempt failed: target=%s id=%s code=%s %s",
        target.name,
        x.request.id.decode("ascii"),
        error.code,
        error.message,
    )
    unreached = isinstance(error, UpstreamUnreachable)
    executed = isinstance(error, UpstreamError) and not unreached
    again = unreached if plan.route.implied else _may_recover(error, plan.route)
    return Failure(target.name, error, executed=executed, same_again=again)


def _may_recover(error: LamplighterError, route: Route) -> bool:
    """Whether the same target may do better in a moment."""
    if isinstance(error, claiming.Waking):
        return route.while_waking is WhileWaking.BRIDGE
    return isinstance(error, UpstreamError | QueueFull)


async def _goes_on(x: Exchange, plan: Plan, failure: Failure) -> bool:
    """Whether there is another attempt: turns to its target, and waits the pause before a repetition."""
    if not plan.may_go_on(x.request.method) or _is_late(x, plan) or not plan.advance():
        return False
    pause = 0.0
    if plan.repetition and not plan.route.implied and not isinstance(failure.error, claiming.Waking):
        pause = _pause_before(x, plan, failure.error)
        if pause > _longest_pause(x, plan) or not _state(x, plan).budget.may_retry(monotonic()):
            return False
    if x.has_answer:
        x.give_up_attempt(failure.error)
    if pause:
        x.may_last()
        x.watch()
        await asyncio.sleep(pause)
    return True


def _is_late(x: Exchange, plan: Plan) -> bool:
    deadline = plan.route.deadline
    return deadline is not None and monotonic() >= x.started + deadline


def _pause_before(x: Exchange, plan: Plan, error: LamplighterError) -> float:
    asked = error.retry_after if isinstance(error, RateLimited) else None
    return max(_state(x, plan).pause(plan.repetition), asked or 0.0)


def _longest_pause(x: Exchange, plan: Plan) -> float:
    """A client that said how long it waits is kept waiting, any other no longer than our own pauses take (seconds)."""
    left = x.time_left()
    return _state(x, plan).retry.cap if left is None else left


def _state(x: Exchange, plan: Plan) -> TargetState:
    return x.services.standings.of(plan.current.name)


def _header(x: Exchange, name: bytes) -> str | None:
    assert x.upstream is not None
    for key, value in x.upstream.headers:
        if key == name:
            return value.decode("latin-1")
    return None
