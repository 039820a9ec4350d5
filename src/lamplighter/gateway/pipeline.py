"""The way of one request: enter, route, ask, answer.

What mostly happens (a small request to an endpoint that is awake, a small answer) is done by the functions named
`…_at_once`, which await nothing; what they leave undone, the others do.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from lamplighter.domain.usage import Outcome
from lamplighter.errors import (
    EndpointBusy,
    LamplighterError,
    QueueFull,
    ShuttingDown,
    UpstreamBroken,
    UpstreamError,
    UpstreamUnreachable,
    WakeTimeout,
)
from lamplighter.gateway import attempts
from lamplighter.gateway.admission import body_at_once, body_in_time
from lamplighter.gateway.answering import answer, answer_at_once, answer_behind_feedback, answer_probe, target_header
from lamplighter.gateway.asking import ask_at_once
from lamplighter.gateway.claiming import claim_for_probe
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.feedback import end_with_error
from lamplighter.gateway.refusals import ClientGone
from lamplighter.gateway.shortcuts import abort
from lamplighter.gateway.surface import Surface, error_headers, send_json

log = logging.getLogger(__name__)

CLIENT_GONE_STATUS = 499  # nobody sees it but the ledger; nginx's number


async def serve(x: Exchange, surface: Surface) -> None:
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
        asked = ask_at_once(x)
        if asked is not None:
            await asked
        if x.probe and (x.claim or await claim_for_probe(x)).replica.proxied:
            await answer_probe(x)
            return
        if not (x.has_answer and attempts.passes_on(x)):
            await attempts.until_answered(x)
        if not answer_at_once(x):
            await (answer_behind_feedback(x) if x.feedback else answer(x))
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


async def _fail(x: Exchange, surface: Surface, error: Exception) -> None:
    x.settle()
    if isinstance(error, ClientGone):
        x.outcome = Outcome.CLIENT_GONE
        x.status = x.status or CLIENT_GONE_STATUS
        return
    assert isinstance(error, LamplighterError)
    x.error = error.code
    if error.status >= 500:
        _log_failure(x, error)
    if isinstance(error, UpstreamError):
        _blame(x, error)
    if x.replied and (not x.feedback or x.first_byte_at is not None):
        x.outcome = Outcome.CUT
        await _cut(x)
        return
    x.outcome = _outcome_of(error)
    if x.feedback:
        await end_with_error(x, error)
        return
    headers = error_headers(error)
    if x.endpoint:
        headers.append(target_header(x))
    if x.meter is not None:
        headers += x.meter.standing(monotonic())
    await send_json(x, error.status, surface.describe(error), headers)


def _blame(x: Exchange, error: UpstreamError) -> None:
    """Tell of a target that failed after it had begun to answer; what came before that was told by its attempt."""
    if x.claim is not None:
        if isinstance(error, UpstreamUnreachable | UpstreamBroken) and not x.replied:
            x.claim.failed()
        else:
            x.claim.struggled()
        x.services.standings.of(x.endpoint).failed(monotonic(), x.trial)


def _outcome_of(error: LamplighterError) -> Outcome:
    if isinstance(error, WakeTimeout | EndpointBusy):
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
