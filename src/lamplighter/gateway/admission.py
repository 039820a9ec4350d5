"""What both surfaces ask of a request before it may wake anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from lamplighter.errors import InvalidInput, NotAllowed
from lamplighter.gateway.body import read_body
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.keys import WITHOUT_KEY
from lamplighter.gateway.refusals import BodyTooLarge, BodyTooSlow, MethodNotAllowed, UpgradeNotSupported
from lamplighter.gateway.shortcuts import take_body

_MOST_DIGITS = 20
"""Of a number that says how long a body is."""


_COMPRESSION = frozenset({b"accept-encoding"})


def nobody(_: Exchange) -> bool:
    """Without a key nobody comes in."""
    return False


def check_entry(  # noqa: C901 - a list of refusals, in one place because a call costs more than a look
    x: Exchange, *, without_key: Callable[[Exchange], bool] = nobody
) -> None:
    """Refuse by the head alone, and learn whose request it is. `without_key` is asked where no key is right.

    Raises NotAllowed, BudgetSpent, KeyRateLimited, InvalidInput.
    """
    request, kept = x.request, x.request.kept
    try:
        holder = x.services.keys.check(kept)
    except NotAllowed:
        if not without_key(x):
            raise
        holder = WITHOUT_KEY
    x.key = holder.key
    if x.services.spent.closed_keys and x.key.id in x.services.spent.closed_keys:
        raise x.services.spent.closed(x.key.id)
    if holder.meter is not None:
        holder.meter.enter(x.started)
        x.meter = holder.meter
        request.lines = request.lines_without(_COMPRESSION)  # what is compressed tells no tokens
    if ".." in request.path and ".." in request.path.split("/"):
        raise InvalidInput("The path must not contain '..': it could lead out of the endpoint.")
    if b"upgrade" in kept and request.wants_websocket():
        raise UpgradeNotSupported
    if request.method == "OPTIONS" and request.is_preflight():  # without an origin: no browser's
        raise MethodNotAllowed("A preflight tells the origin of its page.", allow="GET, POST")
    if b"content-length" in kept:
        length = kept[b"content-length"]
        if len(length) > _MOST_DIGITS or int(length) > x.services.settings.max_body_bytes:
            raise _refused(length, x.services.settings.max_body_bytes)
    elif b"transfer-encoding" in kept and kept[b"transfer-encoding"].lower() != b"chunked":
        _refuse_coding(kept[b"transfer-encoding"])
    if b"x-scale-up-timeout" in kept:
        _set_hold(x)


def _refused(length: bytes, limit: int) -> InvalidInput:
    if len(length) > _MOST_DIGITS:  # zeros before it, so many that Python refuses to read it
        return InvalidInput(f"Content-Length must have at most {_MOST_DIGITS} digits.", field="Content-Length")
    return BodyTooLarge(limit)


def _refuse_coding(coding: bytes) -> NoReturn:
    """The chunks are taken apart here, and the endpoint would not learn how that is coded which was within them."""
    shown = coding[:40].decode("latin-1")
    raise InvalidInput(f"Transfer-Encoding must be 'chunked' alone; got {shown!r}.", field="Transfer-Encoding")


def body_at_once(x: Exchange) -> bool:
    """Take the body if all of it is here, as it mostly is. Raises BodyTooLarge."""
    body = take_body(x.receive)
    if body is None:
        return False
    _set_body(x, body)
    return True


async def body_in_time(x: Exchange) -> None:
    """Read the body. Raises BodyTooLarge, QueueFull, ClientGone; the sweeper ends it with BodyTooSlow."""
    settings = x.services.settings
    x.must(settings.body_timeout, lambda: BodyTooSlow(settings.body_timeout))
    _set_body(x, await read_body(x.receive, settings.max_body_bytes, x.charge))


def _set_body(x: Exchange, body: bytes) -> None:
    if len(body) > x.services.settings.max_body_bytes:
        raise BodyTooLarge(x.services.settings.max_body_bytes)
    x.body = body
    x.bytes_in = len(body)
    x.has_body = True


def _set_hold(x: Exchange) -> None:
    timeout = x.request.hold_timeout()
    if timeout is not None:
        x.hold_timeout = min(timeout, x.services.settings.max_hold)
        x.hold_capped = timeout > x.hold_timeout
