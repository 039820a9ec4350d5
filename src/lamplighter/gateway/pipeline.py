"""The way of one request: enter, route, claim, ask, answer.

What mostly happens (a small request to an endpoint that is awake, a small answer) is done by the two functions named
`…_at_once`, which await nothing; what they leave undone, the others do.
"""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic

from lamplighter.control.demand import Claim
from lamplighter.domain.usage import Outcome
from lamplighter.errors import (
    LamplighterError,
    QueueFull,
    ShuttingDown,
    UpstreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
    WakeTimeout,
)
from lamplighter.gateway import proxied, relay
from lamplighter.gateway.admission import body_at_once, body_in_time
from lamplighter.gateway.asgi import Headers
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.refusals import ClientGone
from lamplighter.gateway.shortcuts import abort, respond
from lamplighter.gateway.surface import Surface, error_headers, send_json
from lamplighter.gateway.tasks.answering import answer_translated
from lamplighter.gateway.upstream import UpstreamConnection

log = logging.getLogger(__name__)

CLIENT_GONE_STATUS = 499  # nobody sees it but the ledger; nginx's number


async def serve(x: Exchange, surface: Surface) -> None:
    """Take a request from its head to its last byte, and account for it however it ends."""
    x.services.sweeper.enter(x)
    try:
        document = surface.enter(x)
        if document is not None:
            await send_json(x, 200, document, [])
            return
        if not body_at_once(x):
            await body_in_time(x)
        surface.route(x)
        answer = _ask_at_once(x)
        if answer is not None:
            await answer
        if x.upstream is None or not x.upstream.head_done:
            claim = x.claim or await _claim_by_waiting(x)
            if x.probe and claim.replica.proxied:
                await _answer_probe(x)
                return
            await _ask_patiently(x)
        if x.translation is not None or not _answer_at_once(x):
            await _answer(x)
    except asyncio.CancelledError:
        why = x.interruption()
        if not isinstance(why, Exception):  # the server ends us: its own deadline for going away has passed
            x.outcome = Outcome.CUT if x.replied else Outcome.REFUSED
            raise
        await _fail(x, surface, why)
    except (LamplighterError, ClientGone) as error:
        await _fail(x, surface, error)
    finally:
        x.finish()


def _ask_at_once(x: Exchange) -> asyncio.Future[None] | None:
    """The way of most requests: the endpoint is awake, and a connection to it is open. None if it isn't so."""
    services, request = x.services, x.request
    x.claim = claim = services.demand.try_claim(x.endpoint)
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
    x.must(services.settings.first_byte_timeout, _no_first_byte)
    head = relay.render_head(request, address, x.path, len(x.body))
    return connection.ask(head + x.body, head_only=request.method == "HEAD")


async def _ask_patiently(x: Exchange) -> None:
    """Ask. An endpoint that can't be reached died since it was looked at: claim again, which wakes it."""
    await _ask_or_claim_again(x)
    if x.address is not None and x.address.proxied:
        await _ask_until_up(x)


async def _ask_or_claim_again(x: Exchange) -> None:
    try:
        await _ask(x)
    except UpstreamUnreachable as error:
        _log_failure(x, error)
        x.give_up_claim()
        x.upstream = None
        await _claim_by_waiting(x)
        await _ask(x)


async def _ask_until_up(x: Exchange) -> None:
    """A provider's proxy may answer for an endpoint that fell asleep: then claim again, which wakes it, and ask again.

    The proxy holds a request while the endpoint starts. Should it answer at once instead, it is asked gently.
    """
    attempt, asked = 0, monotonic()
    while await proxied.turned_away(x):
        _take_back(x)
        await _claim_by_waiting(x)
        await _pass_time(x, proxied.pause_before(attempt, random.random()) - (monotonic() - asked))  # noqa: S311
        attempt, asked = attempt + 1, monotonic()
        await _ask_or_claim_again(x)


def _take_back(x: Exchange) -> None:
    """The endpoint has not got the request. Raises WakeTimeout when its time to be held is over."""
    upstream, address = x.upstream, x.address
    assert upstream is not None
    assert address is not None
    x.upstream = None
    x.services.pool.give(address.origin, upstream)
    x.give_up_claim()
    _still_has_time(x)


def _still_has_time(x: Exchange) -> None:
    x.waited = monotonic() - x.started
    if x.hold_left() == 0.0:
        raise x.services.demand.too_late(x.endpoint, x.waited)


async def _pass_time(x: Exchange, seconds: float) -> None:
    left = x.hold_left()
    await asyncio.sleep(max(0.0, seconds if left is None else min(seconds, left)))
    _still_has_time(x)


async def _answer_probe(x: Exchange) -> None:
    """Answer a health probe from what is known: passed on, it would count as use at the provider, or wake there."""
    x.outcome = Outcome.SERVED
    await send_json(x, 200, {"status": "ok"}, [_target_header(x)])


async def _claim_by_waiting(x: Exchange) -> Claim:
    if x.probe and x.hold_timeout is None:
        x.claim = await x.services.demand.await_awake(x.endpoint, 0.0)
        return x.claim
    x.hold_body()
    x.may_last()
    x.watch()
    began = monotonic()
    try:
        x.claim = await _claim(x)
    except BaseException:
        x.waited += monotonic() - began
        raise
    x.waited += x.claim.waited
    return x.claim


async def _claim(x: Exchange) -> Claim:
    """Wait for an awake endpoint. A probe waits as well, if it asks to be held, but nothing is woken for it."""
    demand, left = x.services.demand, x.hold_left()
    return await (demand.await_awake(x.endpoint, left or 0.0) if x.probe else demand.claim(x.endpoint, left))


async def _ask(x: Exchange) -> None:
    assert x.claim is not None
    services, request = x.services, x.request
    x.address = services.addresses.of(x.claim.replica)
    more = b""
    if x.address.proxied:
        more = proxied.hold_line(x)
        proxied.name_model(x, x.address)
    head = relay.render_head(request, x.address, x.path, len(x.body), more)
    x.must(services.settings.first_byte_timeout + (x.hold_left() or 0.0 if more else 0.0), _no_first_byte)
    tried = x.upstream
    if tried is None:
        x.upstream = await relay.ask(services.pool, x.address, head, x.body, method=request.method)
    elif tried.ended and relay.may_ask_again(tried, request.method):
        x.upstream = None
        x.upstream = await relay.ask_anew(services.pool, x.address, head, x.body, method=request.method)
    else:
        await tried.head()


def _no_first_byte() -> UpstreamTimeout:
    return UpstreamTimeout("The endpoint took the request and did not answer in time.")


def _silence() -> UpstreamTimeout:
    return UpstreamTimeout("The answer stood still for too long.")


def _answer_at_once(x: Exchange) -> bool:
    """Pass on an answer that has come whole, if the server can write it in one go."""
    upstream, address = x.upstream, x.address
    assert upstream is not None
    assert address is not None
    if not upstream.complete:
        return False
    body = upstream.whole()
    if not respond(x.send, upstream.status, upstream.headers + _own_headers(x), body):
        return False
    x.replied = True
    x.status = upstream.status
    x.bytes_out = len(body)
    x.outcome = Outcome.SERVED
    x.upstream = None
    x.services.pool.give(address.origin, upstream)
    return True


async def _answer(x: Exchange) -> None:
    """Pass on an answer as it comes."""
    if x.translation is not None:
        await answer_translated(x, x.translation, _own_headers(x))
        return
    upstream = x.upstream
    assert upstream is not None
    x.status = upstream.status
    x.replied = True
    x.drop_body()
    headers = upstream.headers + _own_headers(x)
    if upstream.length is not None:
        headers.append((b"content-length", upstream.length))
    start = {"type": "http.response.start", "status": upstream.status, "headers": headers}
    x.must(x.services.settings.between_bytes_timeout, _silence)
    await x.send(start)
    while not await _pass_on(x, upstream):
        await upstream.more()
    x.outcome = Outcome.SERVED


async def _pass_on(x: Exchange, upstream: UpstreamConnection) -> bool:
    """Send what has come; True when that was all."""
    piece = upstream.take()
    last = upstream.complete
    if last:
        assert x.address is not None
        x.services.pool.give(x.address.origin, upstream)
        x.upstream = None
    if piece or last:
        x.bytes_out += len(piece)
        await x.send({"type": "http.response.body", "body": piece, "more_body": not last})
    return last


def _own_headers(x: Exchange) -> Headers:
    headers = [
        (b"x-lamplighter-target", x.endpoint.encode("ascii", "backslashreplace")),
        (b"x-lamplighter-waited-ms", b"%d" % (x.waited * 1000) if x.waited else b"0"),
        (b"x-request-id", x.request.id),
    ]
    if x.hold_capped:
        headers.append((b"x-lamplighter-hold-limit", b"%g" % x.services.settings.max_hold))
    return headers


def _target_header(x: Exchange) -> tuple[bytes, bytes]:
    return (b"x-lamplighter-target", x.endpoint.encode("ascii", "backslashreplace"))


async def _fail(x: Exchange, surface: Surface, error: Exception) -> None:
    x.settle()
    if isinstance(error, ClientGone):
        x.outcome = Outcome.CLIENT_GONE
        x.status = x.status or CLIENT_GONE_STATUS
        return
    assert isinstance(error, LamplighterError)
    if error.status >= 500:
        _log_failure(x, error)
    if x.replied:
        x.outcome = Outcome.CUT
        await _cut(x)
        return
    if isinstance(error, UpstreamUnreachable | UpstreamBroken) and x.claim is not None:
        x.claim.failed()
    x.outcome = _outcome_of(error)
    headers = error_headers(error)
    if x.endpoint:
        headers.append(_target_header(x))
    await send_json(x, error.status, surface.describe(error), headers)


def _outcome_of(error: LamplighterError) -> Outcome:
    if isinstance(error, WakeTimeout):
        return Outcome.DEADLINE
    return Outcome.REFUSED if isinstance(error, QueueFull | ShuttingDown) or error.status < 500 else Outcome.FAILED


async def _cut(x: Exchange) -> None:
    """Break the transfer off, so that the client can't take what it got for the whole."""
    if abort(x.send):
        await x.receive()  # returns when the connection is gone; without it the server would log that we did not finish


def _log_failure(x: Exchange, error: LamplighterError) -> None:
    log.warning(
        "request failed: endpoint=%s path=%s id=%s code=%s %s",
        x.endpoint,
        x.request.raw_path.decode("ascii", "backslashreplace")[:500],
        x.request.id.decode("ascii"),
        error.code,
        error.message,
    )
