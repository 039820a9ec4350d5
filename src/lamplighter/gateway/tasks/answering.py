"""Passing an engine's answer on in the client's form: whole answers within bounds, streams as they come."""

from __future__ import annotations

import asyncio
from time import monotonic

from lamplighter.domain.usage import Outcome
from lamplighter.errors import UpstreamError
from lamplighter.gateway.asgi import Headers
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.headers import without
from lamplighter.gateway.tasks.failures import failure
from lamplighter.gateway.tasks.translation import StreamTranslator, Translation
from lamplighter.gateway.tokens import StreamTokens, of_answer

# Past this size an answer is translated beside the event loop.
_LONG = 256 * 1024
_OURS = frozenset({b"content-type", b"content-encoding", b"cache-control", b"accept-ranges", b"etag", b"vary"})


async def answer_translated(x: Exchange, translation: Translation, own: Headers) -> None:
    """Answer the client. `own` are the headers that every answer carries.

    Raises UpstreamError, UpstreamBroken, QueueFull, TaskInvalid while nothing was sent yet.
    """
    upstream = x.upstream
    assert upstream is not None
    x.drop_body()
    x.estimates = True
    headers = without(upstream.headers, _OURS) + own
    translator = translation.stream()
    if upstream.status >= 300:
        await _send(x, upstream.status, headers, failure(upstream.status, await _whole(x)))
    elif translator is None:
        await _send(x, 200, headers, await _translated(translation, await _whole(x)))
    else:
        await _pass_on(x, translator, headers)
    x.outcome = Outcome.SERVED


async def _translated(translation: Translation, body: bytes) -> bytes:
    if len(body) <= _LONG:
        return translation.answer(body)
    return await asyncio.to_thread(translation.answer, body)


async def _whole(x: Exchange) -> bytes:
    """All of the engine's answer, counted as held bytes."""
    upstream = x.upstream
    assert upstream is not None
    limit = x.services.settings.max_body_bytes
    pieces: list[bytes] = []
    size = 0
    x.await_whole()
    while True:
        piece, last = upstream.take(), upstream.complete
        size += len(piece)
        if size > limit:
            raise UpstreamError(f"The engine's answer is longer than {limit} bytes.")
        x.charge(len(piece))
        pieces.append(piece)
        if last:
            break
        await upstream.more()
    _give_back(x)
    whole = b"".join(pieces)
    if (counted := of_answer(whole)) is not None:
        x.tokens_in, x.tokens_out = counted
    return whole


def _give_back(x: Exchange) -> None:
    assert x.upstream is not None
    assert x.address is not None
    x.services.pool.give(x.address.origin, x.upstream)
    x.upstream = None


async def _send(x: Exchange, status: int, headers: Headers, body: bytes) -> None:
    framing = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    x.await_progress()
    x.first_byte_at = monotonic()
    x.replied = True
    x.status = status
    x.bytes_out = len(body)
    await x.send({"type": "http.response.start", "status": status, "headers": framing + headers})
    await x.send({"type": "http.response.body", "body": body})


async def _pass_on(x: Exchange, translator: StreamTranslator, headers: Headers) -> None:
    """Translate a stream piece by piece; a client that reads slowly slows the engine's connection down."""
    upstream = x.upstream
    assert upstream is not None
    framing = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    x.await_progress()
    x.first_byte_at = monotonic()
    x.replied = True
    x.status = 200
    await x.send({"type": "http.response.start", "status": 200, "headers": framing + headers})
    tokens = StreamTokens(strip=False)
    while True:
        piece, last = tokens.feed(upstream.take()), upstream.complete
        if last:
            piece += tokens.end()
            _give_back(x)
        x.tokens_in, x.tokens_out, x.events = tokens.tokens_in, tokens.tokens_out, tokens.events
        said = translator.feed(piece) + (translator.end() if last else b"")
        if said or last:
            x.bytes_out += len(said)
            await x.send({"type": "http.response.body", "body": said, "more_body": not last})
        if last:
            return
        await upstream.more()
