"""Passing an answer on to the client: at once where it has come whole, else as it comes."""

from __future__ import annotations

from time import monotonic

from lamplighter.domain.usage import Outcome
from lamplighter.gateway.asgi import Headers
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.feedback import can_be_passed_on, end_with_answer
from lamplighter.gateway.passage import Passage
from lamplighter.gateway.renting import choice_told
from lamplighter.gateway.shortcuts import respond
from lamplighter.gateway.surface import send_json
from lamplighter.gateway.tasks.answering import answer_translated
from lamplighter.gateway.tokens import AnswerTokens, StreamTokens, of_answer
from lamplighter.gateway.upstream import UpstreamConnection

_JSON = b"application/json"
_STREAM = b"text/event-stream"
_LINES = b"application/x-ndjson"
_KINDS = (_STREAM, _JSON, _LINES)


def answer_at_once(x: Exchange) -> bool:
    """Pass on an answer that has come whole, if the server can write it in one go."""
    upstream, address = x.upstream, x.address
    assert upstream is not None
    assert address is not None
    if not upstream.complete or x.translation is not None or x.asks_usage or x.feedback:
        return False
    body = upstream.whole()
    if not respond(x.send, upstream.status, upstream.headers + own_headers(x), body):
        return False
    x.first_byte_at = monotonic()
    x.replied = True
    x.status = upstream.status
    x.bytes_out = len(body)
    x.outcome = Outcome.SERVED
    x.upstream = None
    x.services.pool.give(address.origin, upstream)
    if x.counts:
        if (counted := of_answer(body)) is not None:
            x.tokens_in, x.tokens_out = counted
        elif x.meter is not None:
            x.estimates = any(name == b"content-type" and _kind(value) for name, value in upstream.headers)
    return True


async def answer(x: Exchange) -> None:
    """Pass on an answer as it comes."""
    if x.translation is not None:
        await answer_translated(x, x.translation, own_headers(x))
        return
    upstream = x.upstream
    assert upstream is not None
    x.status = upstream.status
    x.replied = True
    x.drop_body()
    tokens = _tokens_of(x, upstream)
    headers = upstream.headers + own_headers(x)
    if upstream.length is not None and not (isinstance(tokens, StreamTokens) and tokens.strip):
        headers.append((b"content-length", upstream.length))
    start = {"type": "http.response.start", "status": upstream.status, "headers": headers}
    x.await_progress()
    x.first_byte_at = monotonic()
    await x.send(start)
    await _pass_all_on(x, upstream, tokens)


async def answer_behind_feedback(x: Exchange) -> None:
    """Pass on the body of a stream whose head the client has had already; anything else becomes an error in it."""
    upstream = x.upstream
    assert upstream is not None
    if not can_be_passed_on(upstream):
        await end_with_answer(x)
        return
    x.drop_body()
    x.await_progress()
    x.first_byte_at = monotonic()
    await _pass_all_on(x, upstream, _tokens_of(x, upstream))


async def _pass_all_on(x: Exchange, upstream: UpstreamConnection, tokens: StreamTokens | AnswerTokens | None) -> None:
    """Send what comes as it comes, and what is left at the end."""
    try:
        last = await Passage(x, upstream, tokens).pass_all_but_the_end()
        _give_back(x, upstream)
        x.bytes_out += len(last)
        await x.send({"type": "http.response.body", "body": last, "more_body": False})
    finally:
        _count(x, tokens)
    x.outcome = Outcome.SERVED


def _give_back(x: Exchange, upstream: UpstreamConnection) -> None:
    assert x.address is not None
    x.services.pool.give(x.address.origin, upstream)
    x.upstream = None


async def answer_probe(x: Exchange) -> None:
    """Answer a health probe from what is known: passed on, it would count as use at the provider, or wake there."""
    x.outcome = Outcome.SERVED
    await send_json(x, 200, {"status": "ok"}, [target_header(x)])


def own_headers(x: Exchange) -> Headers:
    """What every answer of a target carries beside its own headers."""
    headers = [
        target_header(x),
        (b"x-lamplighter-waited-ms", b"%d" % (x.waited * 1000) if x.waited else b"0"),
        (b"x-request-id", x.request.id),
    ]
    if x.hold_capped:
        headers.append((b"x-lamplighter-hold-limit", b"%g" % x.services.settings.max_hold))
    plan = x.plan
    if plan is not None and not plan.route.implied:
        if plan.is_fallback(x.endpoint):
            headers.append((b"x-lamplighter-fallback", plan.reason(x.endpoint).encode("ascii")))
        if x.choice:
            headers.append((b"x-lamplighter-choice", choice_told(x.choice)))
    if x.meter is not None:
        if x.upstream is not None:
            x.meter.drop_others(x.upstream.headers)
        headers += x.meter.standing(monotonic())
    return headers


def target_header(x: Exchange) -> tuple[bytes, bytes]:
    """Which target answers, or was meant to."""
    return (b"x-lamplighter-target", x.endpoint.encode("ascii", "backslashreplace"))


def _tokens_of(x: Exchange, upstream: UpstreamConnection) -> StreamTokens | AnswerTokens | None:
    """What counts the tokens of an answer that passes in pieces."""
    if not x.counts or upstream.status != 200:
        return None
    kind, coded = b"", False
    for name, value in upstream.headers:
        if name == b"content-type":
            kind = _kind(value)
        elif name == b"content-encoding":
            coded = True
    x.estimates = bool(kind)
    if coded or not kind or kind is _LINES:
        return None
    return StreamTokens(strip=x.asks_usage) if kind is _STREAM else AnswerTokens()


def _kind(content_type: bytes) -> bytes:
    """What is made of tokens, by its name: JSON, lines of it, or a stream of events. Empty for anything else."""
    given = content_type[:20].lower()
    return next((kind for kind in _KINDS if given.startswith(kind)), b"")


def _count(x: Exchange, tokens: StreamTokens | AnswerTokens | None) -> None:
    if isinstance(tokens, StreamTokens):
        x.tokens_in, x.tokens_out, x.events = tokens.tokens_in, tokens.tokens_out, tokens.events
    elif tokens is not None and (counted := tokens.count()) is not None:
        x.tokens_in, x.tokens_out = counted
