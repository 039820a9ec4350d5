"""Requests of web pages, which browsers mark with the origin of the page: told apart here, before anything else."""

from __future__ import annotations

import msgspec

from lamplighter.domain.loopback import is_own_page
from lamplighter.errors import ForeignPage, LamplighterError
from lamplighter.gateway.asgi import ASGIApp, Headers, Receive, Scope, Send
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.hosts import Hosts
from lamplighter.gateway.origins import MarkedSend, Origins
from lamplighter.gateway.pipeline import end_with, serve
from lamplighter.gateway.refusals import MethodNotAllowed, WrongHost
from lamplighter.gateway.surface import Surface, error_headers, send_json

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


async def serve_page(x: Exchange, surface: Surface, origins: Origins, *, is_open: bool) -> None:
    """Serve a request that tells an origin. A preflight is answered here: it needs no key, and wakes nothing."""
    origin, request = x.request.kept[b"origin"], x.request
    allowed = origins.allows(origin)
    if request.is_preflight():
        await _answer_preflight(x, surface, origins)
    elif allowed:
        x.send = MarkedSend(x.send, origins.answer_headers(origin))
        await serve(x, surface)
    elif is_open and request.method not in _SAFE_METHODS and not _is_own_page(origin, request.kept.get(b"host")):
        await _refuse(x, surface, ForeignPage(origin.decode("latin-1")))
    else:
        await serve(x, surface)


def _is_own_page(origin: bytes, host: bytes | None) -> bool:
    return is_own_page(origin.decode("latin-1"), None if host is None else host.decode("latin-1"))


async def _answer_preflight(x: Exchange, surface: Surface, origins: Origins) -> None:
    origin = x.request.kept[b"origin"]
    if not origins.allows(origin):
        text = f"Pages of {origin.decode('latin-1')[:100]!r} may not read answers; server.cors names those that may."
        await _refuse(x, surface, MethodNotAllowed(text, allow="GET, POST"))
        return
    headers = origins.preflight_headers(origin, x.request.header(b"access-control-request-headers"))
    x.services.sweeper.enter(x)
    x.await_progress()
    try:
        await end_with(x, _send_nothing(x.send, headers))
    finally:
        x.finish()


async def _refuse(x: Exchange, surface: Surface, error: LamplighterError) -> None:
    x.services.sweeper.enter(x)
    try:
        await end_with(x, send_json(x, error.status, surface.describe(x, error), error_headers(error)))
    finally:
        x.finish()


async def manage_page(
    management: ASGIApp, call: tuple[Scope, Receive, Send], origins: Origins, hosts: Hosts | None
) -> None:
    """The same for the management routes, for every request. `hosts` are those of an open server."""
    scope, receive, send = call
    try:
        if hosts is not None:
            hosts.check(_header(scope, b"host"))
    except WrongHost as error:
        await (_send_error(send, error) if scope["type"] == "http" else send({"type": "websocket.close"}))
        return
    if scope["type"] != "http":
        await management(scope, receive, send)
        return
    origin = _header(scope, b"origin")
    if origin is None or not origins.allows(origin):
        await management(scope, receive, send)
        return
    if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None:
        asked = _header(scope, b"access-control-request-headers")
        await _send_nothing(send, origins.preflight_headers(origin, asked))
        return
    if origins.names(origin):
        # The routes refuse pages of others while there are no keys; this one is no stranger.
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"origin"]}
    await management(scope, receive, MarkedSend(send, origins.answer_headers(origin)))


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


async def _send_nothing(send: Send, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _send_error(send: Send, error: LamplighterError) -> None:
    """A refusal in the words of the management routes."""
    details = {"status": error.status, "code": error.code, "message": error.message}
    body = msgspec.json.encode({"success": False, "error": details})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
