"""From target to target along a request's route, until one has an answer for the client.

Up to the first byte that goes to the client a failure leads on: to the next target, or to the same one again. After it
nothing is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from time import monotonic

from lamplighter.domain.choosing import fits
from lamplighter.domain.retrying import is_failure, retry_after, was_refused
from lamplighter.domain.routing import WhileWaking
from lamplighter.errors import (
    BudgetSpent,
    EndpointNotFound,
    EndpointPaused,
    Forbidden,
    LamplighterError,
    QueueFull,
    RateLimited,
    Unavailable,
    UpstreamError,
    UpstreamUnreachable,
)
from lamplighter.gateway import asking, claiming
from lamplighter.gateway.address import UnusableAddress
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.plan import Again, DoesNotFit, Failure, LeftAlone, Plan, plan_of
from lamplighter.gateway.refusals import DeadlinePassed
from lamplighter.gateway.standing import TargetState, Verdict

log = logging.getLogger(__name__)

_REFUSED_KEY = frozenset({401, 403})
_ODD = _REFUSED_KEY | {429}
_COOL_DOWN = 1.0
"""For a target that answers 429 without saying when to come back (seconds)."""

_LEADS_ON = (
    *(Unavailable, EndpointPaused, BudgetSpent, EndpointNotFound, Forbidden),
    *(DoesNotFit, UpstreamError, DeadlinePassed),
)


def is_answered(x: Exchange) -> bool:
    """Whether there is an answer that goes to the client without a second look, as nearly all do."""
    upstream = x.upstream
    if upstream is None or not upstream.head_done:
        return False
    status = upstream.status
    if status >= 400 and (status >= 500 or status in _ODD or x.asks_usage):
        return False
    x.verdict = Verdict.WORKED
    return True


def interrupted(x: Exchange) -> LamplighterError:
    """The failure of an attempt behind a CancelledError. Raises what ends the whole request instead."""
    why = x.interruption()
    if isinstance(why, UpstreamError | DeadlinePassed):
        return why
    raise why from None


async def until_answered(x: Exchange, failed: LamplighterError | None = None) -> None:
    """Make attempts. Afterwards `x.upstream` has the head of the answer that goes to the client.

    Goes on from what was begun already, and may have `failed`. Raises what the client is to be told instead.
    """
    plan = x.plan = x.plan or plan_of(x, x.way)
    failure = _failed(x, plan, failed) if failed is not None else await _attempt(x, plan)
    while failure is not None:
        plan.fail(failure)
        if not await _goes_on(x, plan, failure):
            if x.has_answer and plan.last_speaks(x.request.method):
                return
            x.end_attempt(x.verdict, failure.error.code)
            raise plan.verdict(x.request.method)
        failure = await _attempt(x, plan)


async def _attempt(x: Exchange, plan: Plan) -> Failure | None:
    """One attempt at the plan's current target. None when there is an answer for the client."""
    try:
        state = x.state or x.services.standings.of_target(plan.current)
        if x.claim is None:
            _may_be_asked(x, plan, state)
            await claiming.claim(x, plan, state)
        await asking.ask(x, state)
        return _judge(x, plan, state)
    except asyncio.CancelledError:
        return _failed(x, plan, interrupted(x))
    except _LEADS_ON as error:
        return _failed(x, plan, error)


def _may_be_asked(x: Exchange, plan: Plan, state: TargetState) -> None:
    """Look at the target before anything is claimed. Raises LeftAlone, DoesNotFit."""
    target = plan.current
    x.endpoint = target.name
    if plan.route.implied:
        return
    if target.is_upstream and not x.is_posted:
        raise DoesNotFit(f"an upstream is not asked for {x.request.method} {x.request.path[:100]}")
    now = monotonic()
    if not state.admits(now):
        raise LeftAlone("it failed too often lately, or asked for a pause", retry_after=state.admitted_in(now))
    if not target.fit.is_any and (why := fits(target.fit, x.demands)) is not None:
        raise DoesNotFit(why)


def _judge(x: Exchange, plan: Plan, state: TargetState) -> Failure | None:
    """Whether what the target answered is a failure that another attempt may mend."""
    upstream, target = x.upstream, plan.current
    assert upstream is not None
    x.verdict = Verdict.WORKED
    status = upstream.status
    if status < 400 or (status < 500 and status not in _ODD):
        return None
    after = retry_after(_header(x, b"retry-after"), time.time()) if was_refused(status) else None
    if status == 429:
        state.leave_alone(monotonic(), _COOL_DOWN if after is None else after)
        x.verdict = Verdict.ABANDONED
    elif is_failure(status):
        x.verdict = Verdict.FAILED
    bad_key = status in _REFUSED_KEY and target.is_upstream
    if plan.route.implied or not (bad_key or status == 429 or is_failure(status)):
        return None
    refused, again = bad_key or was_refused(status), Again.NEVER if bad_key else Again.RETRY
    return Failure(target.name, _said(status, after), executed=not refused, again=again)


def _said(status: int, after: float | None) -> LamplighterError:
    if status == 429:
        return RateLimited("it answered 429: too many requests", retry_after=after)
    if status in _REFUSED_KEY:
        return UpstreamError(f"it answered {status}: the key that is configured for it does not count there")
    if was_refused(status):
        return Unavailable(f"it answered {status}", retry_after=after)
    return UpstreamError(f"it answered {status}")


def _failed(x: Exchange, plan: Plan, error: LamplighterError) -> Failure:
    """Note an attempt that gave no answer, and let go of all that it held."""
    x.end_attempt(_verdict_of(error), error.code)
    target = plan.current
    told = x.request.id.decode("ascii")
    log.info("attempt failed: target=%s id=%s code=%s %s", target.name, told, error.code, error.message)
    executed = isinstance(error, UpstreamError) and not isinstance(error, UpstreamUnreachable)
    error.__traceback__ = None  # it refers to all that this request holds, which would wait for the garbage collector
    return Failure(target.name, error, executed=executed, again=_again(error, plan))


def _verdict_of(error: LamplighterError) -> Verdict:
    """What an error tells of the target. One that hung up or talked nonsense has to be looked at."""
    if isinstance(error, UpstreamError):
        return Verdict.FAILED if error.status == 504 else Verdict.UNREACHABLE
    return Verdict.ABANDONED


def _again(error: LamplighterError, plan: Plan) -> Again:
    """What another attempt at the same target may come to."""
    route = plan.route
    if isinstance(error, UnusableAddress):
        return Again.NEVER
    if route.implied:
        return Again.RETRY if isinstance(error, UpstreamUnreachable) else Again.NEVER
    if isinstance(error, claiming.Waking | claiming.Occupied):
        return Again.NEVER if route.while_waking is WhileWaking.FAIL else Again.WAIT
    if isinstance(error, LeftAlone) and not plan.first_round:
        return Again.RETRY  # its pause became longer while this request waited for its end
    return Again.RETRY if isinstance(error, UpstreamError | QueueFull) else Again.NEVER


async def _goes_on(x: Exchange, plan: Plan, failure: Failure) -> bool:
    """Whether there is another attempt: turns to its target, and waits the pause before a repetition."""
    if x.probe or isinstance(failure.error, DeadlinePassed) or not plan.may_go_on(x.request.method):
        return False
    pause = _turn_to_next(x, plan)
    if pause is None:
        return False
    if x.has_answer:
        x.end_attempt(x.verdict, failure.error.code)
    if pause:
        x.may_last()
        x.watch()
        await asyncio.sleep(pause + claiming.TIMER_SLACK)
    return True


def _turn_to_next(x: Exchange, plan: Plan) -> float | None:
    """Turn to the next target that may be asked in time; the pause before that (seconds). None if there is none."""
    while plan.advance(x.begun):
        pause = _pause_before(x, plan)
        if pause is not None:
            return pause
    return None


def _pause_before(x: Exchange, plan: Plan) -> float | None:
    """How long to wait before the current target is asked (seconds); None where it is not to be asked again."""
    if not plan.repetition or plan.route.implied:
        return 0.0
    try:
        state = x.services.standings.of_target(plan.current)
    except EndpointNotFound:
        return None  # a reload has taken it out
    now = monotonic()
    pause = max(state.pause(plan.repetition), state.admitted_in(now), plan.wish(plan.current.name))
    return pause if pause <= _longest_pause(x, state) and state.budget.may_retry(now) else None


def _longest_pause(x: Exchange, state: TargetState) -> float:
    """A client that said how long it waits is kept waiting, any other no longer than our own pauses take (seconds)."""
    left = x.time_left()
    return state.retry.cap if left is None else left


def _header(x: Exchange, name: bytes) -> str | None:
    assert x.upstream is not None
    for key, value in x.upstream.headers:
        if key == name:
            return value.decode("latin-1")
    return None
