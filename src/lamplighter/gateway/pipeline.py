"""The way of one request: admit, claim, ask, answer. Each step calls nothing that comes before it."""

from __future__ import annotations

import asyncio
import logging

from lamplighter.domain.usage import Outcome
from lamplighter.errors import (
    LamplighterError,
    QueueFull,
    ShuttingDown,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
    WakeTimeout,
)
from lamplighter.gateway import relay
from lamplighter.gateway.asgi import Headers
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.refusals import ClientGone
from lamplighter.gateway.surface import Surface, error_headers, send_json
from lamplighter.gateway.upstream import UpstreamConnection

log = logging.getLogger(__name__)

CLIENT_GONE_STATUS = 499  # nobody sees it but the ledger; nginx's number


async def serve(x: Exchange, surface: Surface) -> None:
    """Take a request from its head to its last byte, and account for it however it ends."""
    x.services.sweeper.enter(x)
    try:
        await _serve(x, surface)
    except asyncio.CancelledError:
        # The server's own deadline for going away has passed: `cut` is for the client, the rest happens in `finish`.
        x.outcome = Outcome.CUT if x.replied else Outcome.REFUSED
        raise
    finally:
        x.finish()


async def _serve(x: Exchange, surface: Surface) -> None:
    try:
        if await surface.admit(x):
            await _claim(x)
            await _answer(x, await _ask_with_second_chance(x))
    except asyncio.CancelledError:
        why = x.interruption()
        if not isinstance(why, Exception):
            raise
        await _fail(x, surface, why)
    except (LamplighterError, ClientGone) as error:
        await _fail(x, surface, error)


async def _claim(x: Exchange) -> None:
    assert x.endpoint is not None
    x.claim = x.services.demand.try_claim(x.endpoint)
    if x.claim is None:
        await _claim_by_waiting(x, x.endpoint)


async def _claim_by_waiting(x: Exchange, endpoint: str) -> None:
    x.hold_body()
    x.may_last()
    x.watch()
    x.claim = await x.services.demand.claim(endpoint, x.hold_left())
    x.waited += x.claim.waited


async def _ask_with_second_chance(x: Exchange) -> UpstreamConnection:
    """Ask; if the endpoint can't even be reached, it died since it was last looked at: claim again, which wakes it."""
    assert x.endpoint is not None
    assert x.claim is not None
    try:
        return await _ask(x)
    except UpstreamUnreachable as error:
        _log_failure(x, error)
        x.claim.release()
        x.claim = None
        await _claim_by_waiting(x, x.endpoint)
        return await _ask(x)


async def _ask(x: Exchange) -> UpstreamConnection:
    assert x.claim is not None
    services, request = x.services, x.request
    try:
        x.target = services.targets.of(x.claim.replica)
        head = relay.render_head(request, x.target, x.path, len(x.body))
        x.must(services.settings.first_byte_timeout, _no_first_byte)
        return await relay.ask(services.pool, x.target, head, x.body, method=request.method)
    except asyncio.CancelledError:
        why = x.interruption()
        if isinstance(why, UpstreamError):
            x.claim.failed()
        raise why from None
    except UpstreamError:
        x.claim.failed()
        raise


def _no_first_byte() -> UpstreamTimeout:
    return UpstreamTimeout("The endpoint took the request and did not answer in time.")


def _silence() -> UpstreamTimeout:
    return UpstreamTimeout("The answer stood still for too long.")


async def _answer(x: Exchange, upstream: UpstreamConnection) -> None:
    x.upstream = upstream
    x.status = upstream.status
    x.replied = True
    if x.body:
        x.drop_body()
    start = {"type": "http.response.start", "status": upstream.status, "headers": _headers(x, upstream.headers)}
    if not upstream.complete:
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
        assert x.target is not None
        x.services.pool.give(x.target.origin, upstream)
        x.upstream = None
    if piece or last:
        x.bytes_out += len(piece)
        await x.send({"type": "http.response.body", "body": piece, "more_body": not last})
    return last


def _headers(x: Exchange, headers: Headers) -> Headers:
    assert x.endpoint is not None
    headers.append((b"x-lamplighter-target", x.endpoint.encode("ascii", "backslashreplace")))
    headers.append((b"x-lamplighter-waited-ms", b"%d" % (x.waited * 1000)))
    headers.append((b"x-request-id", x.request.id))
    if x.hold_capped:
        headers.append((b"x-lamplighter-hold-limit", b"%g" % x.services.settings.max_hold))
    return headers


async def _fail(x: Exchange, surface: Surface, error: Exception) -> None:
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
    x.outcome = _outcome_of(error)
    headers = error_headers(error)
    if x.endpoint is not None:
        headers.append((b"x-lamplighter-target", x.endpoint.encode("ascii", "backslashreplace")))
    await send_json(x, error.status, surface.describe(error), headers)


def _outcome_of(error: LamplighterError) -> Outcome:
    if isinstance(error, WakeTimeout):
        return Outcome.DEADLINE
    return Outcome.REFUSED if isinstance(error, QueueFull | ShuttingDown) or error.status < 500 else Outcome.FAILED


async def _cut(x: Exchange) -> None:
    """Break the transfer off, so that the client can't take what it got for the whole."""
    abort = x.request.scope.get("extensions", {}).get("lamplighter.abort")
    if abort is not None:
        abort()
        await x.receive()  # returns when the connection is gone; without it the server would log that we did not finish


def _log_failure(x: Exchange, error: LamplighterError) -> None:
    log.warning(
        "request failed: endpoint=%s path=%s id=%s code=%s %s",
        x.endpoint,
        x.request.path,
        x.request.id.decode("ascii"),
        error.code,
        error.message,
    )
