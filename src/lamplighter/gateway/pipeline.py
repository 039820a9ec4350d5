"""The way of one request: enter, route, ask, answer.

What mostly happens (a small request to an endpoint that is awake, a small answer) is done by the functions named
`…_at_once`, which await nothing; what they leave undone, the others do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from time import monotonic

from lamplighter.domain.usage import Outcome
from lamplighter.errors import (
    EndpointBusy,
    LamplighterError,
    QueueFull,
    ShuttingDown,
    UpstreamError,
    WakeTimeout,
)
from lamplighter.gateway import attempts
from lamplighter.gateway.admission import body_at_once, body_in_time
from lamplighter.gateway.answering import answer, answer_at_once, answer_behind_feedback, answer_probe, target_header
from lamplighter.gateway.asking import ask_at_once
from lamplighter.gateway.claiming import claim_for_probe
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.feedback import end_with_error
from lamplighter.gateway.refusals import ClientGone, ClientStuck
from lamplighter.gateway.shortcuts import abort
from lamplighter.gateway.standing import Verdict
from lamplighter.gateway.surface import Surface, error_headers, send_json

log = logging.getLogger(__name__)

CLIENT_GONE_STATUS = 499  # nobody sees it but the ledger; nginx's number


async def serve(x: Exchange, surface: Surface) -> None:  # noqa: C901 - the whole way, and a call costs more than a look
    """Take a request from its head to its last byte, and account for it however it ends."""
    x.services.sweeper.enter(x)
    try:
        document = surface.enter(x)
        if document is not None:
            x.outcome = Outcome.SERVED
            await send_json(x, 200, document, [])
            return
        if not body_at_once(x):
            await body_in_time(x)
        surface.route(x)
        failed = None
        if (asked := ask_at_once(x)) is not None:
            try:
                await asked
            except asyncio.CancelledError:
                failed = attempts.interrupted(x)
        if x.probe and await _is_known_awake(x):
            await answer_probe(x)
            return
        if failed is not None or not attempts.is_answered(x):
            await attempts.until_answered(x, failed)
        if not answer_at_once(x):
            await (answer_behind_feedback(x) if x.feedback else answer(x))
    except asyncio.CancelledError:
        why = x.interruption()
        if not isinstance(why, Exception):  # the server ends us: its own deadline for going away has passed
            x.outcome = Outcome.CUT if x.replied else Outcome.REFUSED
            x.verdict = Verdict.ABANDONED
            raise
        await _fail(x, surface, why)
    except (LamplighterError, ClientGone) as error:
        await _fail(x, surface, error)
    finally:
        x.finish()


async def _is_known_awake(x: Exchange) -> bool:
    """Whether a health probe need not be passed on. Raises Unavailable where the endpoint is not awake."""
    claim = x.claim or await claim_for_probe(x)
    return claim.replica.proxied


async def _fail(x: Exchange, surface: Surface, error: Exception) -> None:
    """End a request with an error. All that it holds is let go first: the client may take its time to read it."""
    x.end_attempt(Verdict.FAILED if isinstance(error, UpstreamError) else Verdict.ABANDONED)
    x.drop_body()
    if isinstance(error, ClientGone):
        await _leave(x, error)
        return
    assert isinstance(error, LamplighterError)
    x.error = error.code
    if error.status >= 500:
        _log_failure(x, error)
    if x.replied and (not x.feedback or x.first_byte_at is not None):
        x.outcome = Outcome.CUT
        await _cut(x)
        return
    x.outcome = _outcome_of(error)
    await end_with(x, _say(x, surface, error))


async def end_with(x: Exchange, saying: Awaitable[None]) -> None:
    """Say the last words of a request. Whoever does not read them in time is hung up on, as when the server ends."""
    try:
        await saying
    except asyncio.CancelledError:
        why = x.interruption()
        if not isinstance(why, Exception):
            raise
        x.outcome = Outcome.CLIENT_GONE if isinstance(why, ClientGone) else Outcome.CUT
        await _cut(x)


async def _say(x: Exchange, surface: Surface, error: LamplighterError) -> None:
    if x.feedback:
        x.await_progress()
        await end_with_error(x, error)
        return
    headers = error_headers(error)
    if x.endpoint:
        headers.append(target_header(x))
    if x.meter is not None:
        headers += x.meter.standing(monotonic())
    await send_json(x, error.status, surface.describe(x, error), headers)


async def _leave(x: Exchange, gone: ClientGone) -> None:
    """Nobody is told anything any more."""
    x.outcome = Outcome.CLIENT_GONE
    x.status = x.status or CLIENT_GONE_STATUS
    if isinstance(gone, ClientStuck):
        await _cut(x)


def _outcome_of(error: LamplighterError) -> Outcome:
    if isinstance(error, WakeTimeout | EndpointBusy):
        return Outcome.DEADLINE
    return Outcome.REFUSED if isinstance(error, QueueFull | ShuttingDown) or error.status < 500 else Outcome.FAILED


async def _cut(x: Exchange) -> None:
    """Break the transfer off, so that the client can't take what it got for the whole."""
    x.settle()
    if abort(x.send):
        # Ends when the connection is gone; without it the server would log that we did not finish.
        while (await x.receive())["type"] != "http.disconnect":
            pass


def _log_failure(x: Exchange, error: LamplighterError) -> None:
    log.warning(
        "request failed: endpoint=%s path=%s id=%s code=%s %s",
        x.endpoint,
        x.request.raw_path.decode("ascii", "backslashreplace")[:500],
        x.request.id.decode("ascii"),
        error.code,
        error.message,
    )
