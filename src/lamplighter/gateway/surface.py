"""The two faces of the gateway, and how each words an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import msgspec

from lamplighter.errors import (
    BudgetSpent,
    EndpointNotFound,
    InvalidInput,
    LamplighterError,
    PaymentRequired,
    Unavailable,
)
from lamplighter.gateway.asgi import Headers
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.messages import is_messages, messages_error
from lamplighter.gateway.refusals import KeyRateLimited, MethodNotAllowed
from lamplighter.gateway.tasks.failures import kind_of_error
from lamplighter.gateway.wording import proxy_error


@dataclass(frozen=True, slots=True)
class Surface:
    """How a request on this face is understood. Both steps raise what is to be refused, before anything is woken.

    `enter` looks at the head; what it returns, if anything, is the whole answer. `route` looks at the body as well and
    sets `endpoint` and `path` of the exchange.
    """

    enter: Callable[[Exchange], object | None]
    route: Callable[[Exchange], None]
    describe: Callable[[Exchange, LamplighterError], object]


def openai_error(error: LamplighterError) -> object:
    """An error as OpenAI's API words it, so that its clients raise their own exceptions with our text."""
    param = error.field if isinstance(error, InvalidInput) else "model" if isinstance(error, EndpointNotFound) else None
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    if isinstance(error, KeyRateLimited):
        kind = "rate_limit_error"
    elif isinstance(error, PaymentRequired):
        kind = "insufficient_quota"
    return {"error": {"message": error.message, "type": kind, "param": param, "code": error.code}}


def v1_error(x: Exchange, error: LamplighterError) -> object:
    """An error as the API words it that the path belongs to: OpenAI's, or Anthropic's."""
    if is_messages(x.request.path):
        return messages_error(error, x.request.id)
    return openai_error(error)


def plain_error(_: Exchange, error: LamplighterError) -> object:
    """An error as the proxy before a Hugging Face endpoint words it."""
    kind = kind_of_error(error)
    return proxy_error(error) | ({"error_type": kind} if kind else {})


def error_headers(error: LamplighterError) -> Headers:
    """What else a client needs to know, to do the right thing next."""
    headers = []
    if isinstance(error, Unavailable | BudgetSpent):
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after or 1))))
    if isinstance(error, KeyRateLimited):
        headers += error.headers
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("ascii")))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.code in {"shutting_down", "body_timeout"}:
        headers.append((b"connection", b"close"))
    return headers


async def send_json(x: Exchange, status: int, payload: object, headers: Headers) -> None:
    """Answer with a small JSON document of our own. The sweeper ends it where the client does not read."""
    body = msgspec.json.encode(payload)
    x.await_progress()
    x.replied = True
    x.status = status
    x.bytes_out = len(body)
    own = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", x.request.id),
    ]
    await x.send({"type": "http.response.start", "status": status, "headers": own + headers})
    await x.send({"type": "http.response.body", "body": body})
