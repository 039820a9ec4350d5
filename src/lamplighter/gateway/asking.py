"""One attempt at a claimed target: the request goes out, and the head of its answer comes."""

from __future__ import annotations

import asyncio
import random
from time import monotonic

from lamplighter.domain.routing import Choose
from lamplighter.errors import LamplighterError, UpstreamUnreachable
from lamplighter.gateway import claiming, proxied, relay
from lamplighter.gateway.address import Address
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.feedback import plain
from lamplighter.gateway.model import rename
from lamplighter.gateway.plan import DoesNotFit, plan_of
from lamplighter.gateway.standing import TargetState, Verdict
from lamplighter.gateway.tokens import refuses_usage, wants_usage

_REFUSED_QUESTION = frozenset({400, 422})
_FIRST_REFUSAL = 400
_LONGEST_REFUSAL = 64 * 1024
_COMPRESSION = frozenset({b"accept-encoding"})


def ask_at_once(x: Exchange) -> asyncio.Future[None] | None:
    """The way of most requests: the target is awake, and a connection to it is open. None if it isn't so.

    What it leaves in the exchange, `attempts.until_answered` goes on from, and tells what is wrong with it.
    """
    services, request, way = x.services, x.request, x.way
    state = services.standings.of(way.name) if way.implied else _first_choice(x)
    if state is None:
        return None
    x.claim = claim = claiming.claim_at_once(x, state)
    if claim is None:
        return None
    if x.probe:
        claim.uncount()
    try:
        x.address = address = services.addresses.of(claim.replica)
        if address.proxied:
            return None
        body = x.body if way.implied and not x.streams else _body_for(x, state, address)
    except LamplighterError:
        return None
    if len(body) > relay.JOINED or (connection := services.pool.take(address.origin)) is None:
        return None
    x.upstream = connection
    _begin(x, state, x.started)
    x.attempts += 1
    x.await_first_byte()
    more = b"" if x.trace is None else x.trace.attempt(x.endpoint, address.origin)
    head = relay.render_head(request, address, x.path.removeprefix(address.strip), len(body), more)
    return connection.ask(head + body, head_only=request.method == "HEAD")


def _first_choice(x: Exchange) -> TargetState | None:
    """The state of the target to try first; None where more has to be known of it, or it is not to be asked now."""
    way = x.way
    plan = x.plan = plan_of(x, way) if way.choose is Choose.ORDER else x.services.renting.plan(x, way)
    target = plan.current
    state = x.services.standings.of_target(target)
    if (target.is_upstream and not x.is_posted) or not target.fit.is_any or not state.admits(x.started):
        return None
    x.endpoint = target.name
    return state


def _begin(x: Exchange, state: TargetState, now: float) -> None:
    """From here on the target is judged by how this ends."""
    x.begun += 1
    if not x.probe:
        x.state = state
        x.trial = state.begin(now, again=x.plan is not None and x.plan.was_tried(x.endpoint))


async def ask(x: Exchange, state: TargetState) -> None:
    """Ask the claimed target, or go on with what was asked already.

    Raises UpstreamError, DoesNotFit, and what a claim raises.
    """
    await _ask(x, state)
    if x.asks_usage and await _was_asked_too_much(x):
        await _ask_without_question(x, state)
    if x.address is not None and x.address.proxied:
        await _ask_until_up(x, state)


async def _ask_without_question(x: Exchange, state: TargetState) -> None:
    """Ask as the client did. It was our question that was refused, for good, only if that goes well.

    Else it may have been the client's own mistake, told in an answer that quotes all of the request.
    """
    x.streams = False
    x.recycle()
    try:
        await _ask(x, state)
    finally:
        x.streams = True  # for another target, should this one fail
    if x.upstream is not None and x.upstream.status < _FIRST_REFUSAL:
        state.takes_usage = False


async def _ask(x: Exchange, state: TargetState) -> None:
    assert x.claim is not None
    services, request, tried = x.services, x.request, x.upstream
    if x.state is None:
        _begin(x, state, monotonic())
    if tried is not None and not (tried.ended and relay.may_ask_again(tried, request.method)):
        await tried.head()
        return
    address = services.addresses.of(x.claim.replica)
    x.address = address = plain(address) if x.feedback else address
    held = _held_there(x) if address.proxied else 0.0
    hold = proxied.hold_line(held) if address.proxied else b""
    body = _body_for(x, state, address)
    more = hold if x.trace is None else hold + x.trace.attempt(x.endpoint, address.origin, again=tried is not None)
    head = relay.render_head(request, address, x.path.removeprefix(address.strip), len(body), more)
    x.upstream = None
    x.attempts += tried is None
    x.await_connection()
    send = relay.ask if tried is None else relay.ask_anew
    x.upstream = await send(
        services.pool,
        address,
        head,
        body,
        method=request.method,
        connected=lambda: x.await_first_byte(held),
    )


def _held_there(x: Exchange) -> float:
    """How long a provider's proxy may hold the request (seconds): as long as it would wait here for a start."""
    assert x.plan is not None
    return min(proxied.time_left(x), claiming.patience_of(x, x.plan))


def _body_for(x: Exchange, state: TargetState, address: Address) -> bytes:
    """The body as this target is to have it: with its own name of the model, and asked for the usage of a stream.

    Everything else stays as the client sent it. Raises DoesNotFit where the name can't be replaced, InvalidInput for a
    body that can't be read.
    """
    body, name = x.body, _model_for(x, address)
    if name is not None and x.by_model:
        renamed = rename(body, x.request.header(b"content-type") or b"", name)
        if renamed is None:
            raise DoesNotFit("its name of the model can't be put into such a body")
        body = renamed
    if x.streams and state.takes_usage and (asking := wants_usage(body)) is not None:
        x.asks_usage, body = True, asking
        x.request.lines = x.request.lines_without(_COMPRESSION)  # what is compressed can't be taken out again
    else:
        x.asks_usage = False
    if body is not x.body:
        x.hold_sent(len(body))
    return body


def _model_for(x: Exchange, address: Address) -> str | None:
    """The name that the target knows its model by; None where that is the one that the client used."""
    if x.way.implied or x.plan is None:
        return address.model
    target = x.plan.current
    return target.model or address.model or (None if target.is_upstream else target.name)


async def _was_asked_too_much(x: Exchange) -> bool:
    """Whether the target refused what we added to the request. It has not been executed then."""
    upstream = x.upstream
    assert upstream is not None
    if upstream.status not in _REFUSED_QUESTION:
        return False
    return refuses_usage(upstream.status, await upstream.whole_within(_LONGEST_REFUSAL))


async def _ask_until_up(x: Exchange, state: TargetState) -> None:
    """A provider's proxy may answer for an endpoint that fell asleep: then claim again, which wakes it, and ask again.

    The proxy holds a request while the endpoint starts. Should it answer at once instead, it is asked gently.
    """
    attempt, asked = 0, monotonic()
    while await proxied.turned_away(x):
        _take_back(x)
        await _claim_again(x)
        await _pass_time(x, proxied.pause_before(attempt, random.random()) - (monotonic() - asked))  # noqa: S311
        attempt, asked = attempt + 1, monotonic()
        await _ask_or_claim_again(x, state)


async def _ask_or_claim_again(x: Exchange, state: TargetState) -> None:
    try:
        await _ask(x, state)
    except UpstreamUnreachable as error:
        x.end_attempt(Verdict.UNREACHABLE, error.code)
        await _claim_again(x)
        await _ask(x, state)


async def _claim_again(x: Exchange) -> None:
    assert x.plan is not None
    await claiming.claim_as_the_route_waits(x, x.plan)


def _take_back(x: Exchange) -> None:
    """The endpoint has not got the request: the replica is asleep. Raises WakeTimeout when there is no time left."""
    x.recycle()
    claim, x.claim = x.claim, None
    if claim is not None:
        claim.failed()
        claim.release()
    _still_has_time(x)


def _still_has_time(x: Exchange) -> None:
    x.waited = monotonic() - x.started
    if proxied.time_left(x) == 0.0:
        raise x.services.demand.too_late(x.endpoint, x.waited)


async def _pass_time(x: Exchange, seconds: float) -> None:
    await asyncio.sleep(max(0.0, min(seconds, proxied.time_left(x))))
    _still_has_time(x)
