"""One attempt at a claimed target: the request goes out, and the head of its answer comes."""

from __future__ import annotations

import asyncio
import random
from time import monotonic

from lamplighter.errors import UpstreamTimeout, UpstreamUnreachable
from lamplighter.gateway import claiming, proxied, relay
from lamplighter.gateway.address import Address
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.feedback import plain
from lamplighter.gateway.model import renamed
from lamplighter.gateway.plan import plan_of


def ask_at_once(x: Exchange) -> asyncio.Future[None] | None:
    """The way of most requests: the target is awake, and a connection to it is open. None if it isn't so.

    What it leaves in the exchange, `attempts.until_answered` goes on from.
    """
    services, request, route = x.services, x.request, x.way
    name = route.name if route.implied else _first_choice(x)
    if name is None:
        return None
    state = services.standings.of(name)
    x.claim = claim = claiming.claim_at_once(x, state, name)
    if x.probe and claim is not None:
        claim.uncount()
    if claim is None or len(x.body) > relay.JOINED:
        return None
    x.address = address = services.addresses.of(claim.replica)
    if address.proxied:
        return None
    connection = services.pool.take(address.origin)
    if connection is None:
        return None
    x.upstream = connection
    x.state = state
    x.trial = state.begin(x.started)
    x.attempts += 1
    x.must(services.settings.first_byte_timeout if route.implied else x.first_byte_time(), _no_first_byte)
    body = x.body if route.implied else _body_for(x, address)
    more = b"" if x.trace is None else x.trace.attempt(name, address.origin)
    head = relay.render_head(request, address, x.path.removeprefix(address.strip), len(body), more)
    return connection.ask(head + body, head_only=request.method == "HEAD")


def _first_choice(x: Exchange) -> str | None:
    """The target to try first; None where more has to be known of it, or it is not to be asked now."""
    plan = x.plan = plan_of(x, x.way)
    target = plan.current
    if not target.fit.is_any or not x.services.standings.of(target.name).admits(x.started):
        return None
    x.endpoint = target.name
    return target.name


async def ask(x: Exchange) -> None:
    """Ask the claimed target, or go on with what was asked already. Raises UpstreamError, and what a claim raises."""
    await _ask(x)
    if x.address is not None and x.address.proxied:
        await _ask_until_up(x)


async def _ask(x: Exchange) -> None:
    assert x.claim is not None
    services, request = x.services, x.request
    if x.state is None:
        x.state = services.standings.of(x.endpoint)
        x.trial = x.state.begin(monotonic())
    address = services.addresses.of(x.claim.replica)
    x.address = address = plain(address) if x.feedback else address
    hold = proxied.hold_line(x) if address.proxied else b""
    body, tried = _body_for(x, address), x.upstream
    more = hold if x.trace is None else hold + x.trace.attempt(x.endpoint, address.origin, again=tried is not None)
    head = relay.render_head(request, address, x.path.removeprefix(address.strip), len(body), more)
    x.must(x.first_byte_time() + (x.time_left() or 0.0 if hold else 0.0), _no_first_byte)
    if tried is None:
        x.attempts += 1
        x.upstream = await relay.ask(services.pool, address, head, body, method=request.method)
    elif tried.ended and relay.may_ask_again(tried, request.method):
        x.upstream = None
        x.upstream = await relay.ask_anew(services.pool, address, head, body, method=request.method)
    else:
        await tried.head()


def _body_for(x: Exchange, address: Address) -> bytes:
    """The body with the name that the target knows its model by. Everything else stays as the client sent it."""
    name = x.model_for(address)
    if name is None or not x.by_model:
        return x.body
    body = renamed(x.body, name)
    x.charge(max(0, len(body) - len(x.body)))
    return body


async def _ask_until_up(x: Exchange) -> None:
    """A provider's proxy may answer for an endpoint that fell asleep: then claim again, which wakes it, and ask again.

    The proxy holds a request while the endpoint starts. Should it answer at once instead, it is asked gently.
    """
    attempt, asked = 0, monotonic()
    while await proxied.turned_away(x):
        _take_back(x)
        await claiming.claim_by_waiting(x)
        await _pass_time(x, proxied.pause_before(attempt, random.random()) - (monotonic() - asked))  # noqa: S311
        attempt, asked = attempt + 1, monotonic()
        await _ask_or_claim_again(x)


async def _ask_or_claim_again(x: Exchange) -> None:
    try:
        await _ask(x)
    except UpstreamUnreachable as error:
        x.give_up_attempt(error)
        await claiming.claim_by_waiting(x)
        await _ask(x)


def _take_back(x: Exchange) -> None:
    """The endpoint has not got the request. Raises WakeTimeout when its time to be held is over."""
    upstream, address = x.upstream, x.address
    assert upstream is not None
    assert address is not None
    x.upstream = None
    x.services.pool.give(address.origin, upstream)
    x.set_replica_aside()
    _still_has_time(x)


def _still_has_time(x: Exchange) -> None:
    x.waited = monotonic() - x.started
    if x.time_left() == 0.0:
        raise x.services.demand.too_late(x.endpoint, x.waited)


async def _pass_time(x: Exchange, seconds: float) -> None:
    left = x.time_left()
    await asyncio.sleep(max(0.0, seconds if left is None else min(seconds, left)))
    _still_has_time(x)


def _no_first_byte() -> UpstreamTimeout:
    return UpstreamTimeout("The endpoint took the request and did not answer in time.")
