"""What both surfaces ask of a request before it may wake anything."""

from __future__ import annotations

from lamplighter.errors import InvalidInput
from lamplighter.gateway.body import read_body
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.refusals import BodyTooLarge, BodyTooSlow, MethodNotAllowed, UpgradeNotSupported


def check_entry(x: Exchange) -> None:
    """Refuse by the head alone. Raises NotAllowed, InvalidInput."""
    request, services = x.request, x.services
    services.keys.check(request.kept)
    if request.wants_websocket():
        raise UpgradeNotSupported
    if ".." in request.path and ".." in request.path.split("/"):
        raise InvalidInput("The path must not contain '..': it could lead out of the endpoint.")
    if request.method == "OPTIONS" and request.is_preflight():
        raise MethodNotAllowed("Requests from other origins' pages are not served.", allow="GET, POST")
    if request.content_length() > services.settings.max_body_bytes:
        raise BodyTooLarge(services.settings.max_body_bytes)


def set_hold(x: Exchange) -> None:
    """How long the request may be held. Raises InvalidInput."""
    timeout = x.request.hold_timeout()
    if timeout is not None:
        x.hold_timeout = min(timeout, x.services.settings.max_hold)
        x.hold_capped = timeout > x.hold_timeout


async def admit_body(x: Exchange) -> None:
    """Read the body. Raises BodyTooLarge, QueueFull, ClientGone; the sweeper ends it with BodyTooSlow."""
    settings = x.services.settings
    x.must(settings.body_timeout, lambda: BodyTooSlow(settings.body_timeout))
    x.body = await read_body(x.receive, settings.max_body_bytes, x.charge)
    x.bytes_in = len(x.body)
    x.has_body = True
