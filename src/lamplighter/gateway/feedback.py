"""Words to a client whose stream is held while its endpoint starts, so that nobody on the way gives up.

They are comments between server-sent events, which every reader of such a stream passes over. With the first one the
answer has begun: its status is 200 whatever comes, an answer's own head can't be sent any more, and an error has to be
an event of the stream.

How the gateway uses it: where `is_wanted`, a claim is awaited by `hold_with_feedback`. From then on `Exchange.feedback`
tells whether the answer has begun: then ask for a `plain` answer, pass the body of one that `can_be_passed_on` on
without its head, turn any other one into an error with `end_with_answer`, and tell an error with `end_with_error` as
long as nothing of an answer was passed on.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping
from time import monotonic

import msgspec

from lamplighter.control.demand import Claim
from lamplighter.domain.usage import Outcome
from lamplighter.errors import EndpointNotFound, LamplighterError, UpstreamError
from lamplighter.gateway.address import Address
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.messages import PATH, document, type_of
from lamplighter.gateway.surface import openai_error
from lamplighter.gateway.upstream import UpstreamConnection

GRACE = 2.0
"""A wait that is over by then has an answer like any other (seconds)."""

EVERY = 10.0
"""Between two words: less than what proxies wait for a sign of life, commonly 30 to 60 s (seconds)."""

_STREAM = b"text/event-stream"
_LONGEST_ANSWER = 64 * 1024
_LONGEST_TEXT = 500
_COMPRESSION = b"accept-encoding"
_MESSAGES = PATH.encode()
_RESPONSES = b"/v1/responses"


class _Asks(msgspec.Struct, gc=False):
    stream: bool = False


_asks = msgspec.json.Decoder(_Asks).decode


def is_wanted(x: Exchange) -> bool:
    """Whether the route tells who waits how it goes, and this request is for a stream."""
    if not x.way.feedback or x.translation is not None or x.request.method != "POST":
        return False
    try:
        return _asks(x.body).stream
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


async def hold_with_feedback(
    x: Exchange, claim: Awaitable[Claim], *, grace: float = GRACE, every: float = EVERY
) -> Claim:
    """Wait for the claim, and tell the client how it goes: after `grace` seconds, and then `every` so many.

    Raises what the claim raises. Cancelling withdraws it.
    """
    waiting = asyncio.ensure_future(claim)
    pause = every if x.feedback else grace
    try:
        while not (await asyncio.wait((waiting,), timeout=pause))[0]:
            if not x.feedback:
                await _begin(x)
            await _say(x, _word(x))
            pause = every
    except BaseException:
        waiting.cancel()
        waiting.add_done_callback(_hand_back)
        raise
    return waiting.result()


def plain(address: Address) -> Address:
    """Asked there, an answer comes without a compression that our head has not told of."""
    lines = address.lines + _COMPRESSION + b": identity\r\n"
    return dataclasses.replace(address, lines=lines, owned=address.owned | {_COMPRESSION})


def can_be_passed_on(upstream: UpstreamConnection) -> bool:
    """Whether the answer's body may follow what was said: it is the stream that was asked for, and not compressed."""
    headers = dict(upstream.headers)
    is_plain = headers.get(b"content-encoding", b"identity").lower() == b"identity"
    return upstream.status == 200 and is_plain and headers.get(b"content-type", b"").lower().startswith(_STREAM)


async def end_with_answer(x: Exchange) -> None:
    """End the stream with the error that the target answered. One that is no error is told as what it is.

    Raises UpstreamTimeout when that does not come in time.
    """
    upstream, address = x.upstream, x.address
    assert upstream is not None
    assert address is not None
    x.await_whole()
    said = _said(upstream, await upstream.whole_within(_LONGEST_ANSWER))
    if upstream.complete:
        x.upstream = None
        x.services.pool.give(address.origin, upstream)
    x.outcome = Outcome.SERVED
    await _end(x, upstream.status if upstream.status >= 400 else UpstreamError.status, said)


async def end_with_error(x: Exchange, error: LamplighterError) -> None:
    """End the stream with an error of ours. The exchange has the status that it would have been answered with."""
    told = openai_error(error)
    assert isinstance(told, dict)
    await _end(x, error.status, told["error"])


async def _begin(x: Exchange) -> None:
    x.feedback = x.replied = True
    x.status = 200
    headers = [
        (b"content-type", _STREAM + b"; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),  # nginx would keep our words until there are enough of them
        (b"x-lamplighter-target", x.endpoint.encode("ascii", "backslashreplace")),
        (b"x-request-id", x.request.id),
    ]
    await x.send({"type": "http.response.start", "status": 200, "headers": headers})


async def _say(x: Exchange, words: str) -> None:
    """Send a comment. It is not counted in `bytes_out`: that is progress of an answer, and this is none."""
    await x.send({"type": "http.response.body", "body": f": {words}\n\n".encode(), "more_body": True})


def _word(x: Exchange) -> str:
    demand, name, held = x.services.demand, x.endpoint, monotonic() - x.started
    try:
        left = demand.expected_wait(name)
    except EndpointNotFound:  # it is being taken out; the claim will tell
        return "waiting"
    what = "is busy" if demand.is_awake(name) else "is starting"
    return f"{name} {what}, {held:.0f} s of about {held + left:.0f} s"


def _hand_back(claim: asyncio.Future[Claim]) -> None:
    """A grant that comes as nobody waits any more."""
    if not claim.cancelled() and claim.exception() is None:
        claim.result().abandoned()
        claim.result().release()


async def _end(x: Exchange, status: int, error: Mapping[str, object]) -> None:
    x.status = status
    event = _event(x, status, error)
    x.bytes_out += len(event)
    await x.send({"type": "http.response.body", "body": event})


def _event(x: Exchange, status: int, error: Mapping[str, object]) -> bytes:
    """An error as the clients of that path find it in a stream.

    OpenAI's raise for any event whose data has an `error`; its responses have an event of their own for that, and
    Anthropic's messages, too, whose clients raise by the event's name.
    """
    path = x.path.partition(b"?")[0]
    if path == _MESSAGES:
        kind = type_of(status, said=error.get("type"), code=error.get("code"))
        told = document(kind, str(error.get("message")), x.request.id)
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(told)
    if path == _RESPONSES:
        own = {key: error.get(key) for key in ("code", "message", "param")}
        told = {"type": "error", "sequence_number": 0, **own, "error": error}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode(told)
    return b"data: %b\n\ndata: [DONE]\n\n" % msgspec.json.encode({"error": error})


def _said(upstream: UpstreamConnection, body: bytes) -> Mapping[str, object]:
    """The error in a target's answer, in OpenAI's words whichever form it came in."""
    status = upstream.status
    if status < 400:
        return _error(f"The endpoint was asked for a stream and answered {status} with something else.", status)
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _error(body.decode("utf-8", "replace").strip(), status)
    inner = told.get("error") if isinstance(told, dict) else None
    if isinstance(inner, dict) and isinstance(inner.get("message"), str):
        return inner
    texts = (inner, told.get("message"), told.get("detail")) if isinstance(told, dict) else ()
    return _error(next((text for text in texts if isinstance(text, str)), ""), status)


def _error(text: str, status: int) -> Mapping[str, object]:
    kind = "invalid_request_error" if 400 <= status < 500 else "server_error"
    message = text[:_LONGEST_TEXT] or f"The endpoint answered {status}."
    return {"message": message, "type": kind, "param": None, "code": UpstreamError.code}
