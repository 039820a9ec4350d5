"""The page as an ASGI application before the management routes: who may see what, and what a browser is told."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from lamplighter.api.access import Access, TooManyRequests
from lamplighter.control.sources import Sources
from lamplighter.domain.keys import ANYBODY, Role
from lamplighter.gateway.asgi import ASGIApp, Message, Receive, Scope, Send
from lamplighter.web import paths
from lamplighter.web.answering import answer, header, redirect
from lamplighter.web.assets import Assets
from lamplighter.web.library import Library
from lamplighter.web.policy import HARDENING, INERT, content_policy, is_own_origin, with_nonce
from lamplighter.web.screens import screen_at
from lamplighter.web.sessions import Sessions, Visitor, set_cookie
from lamplighter.web.signing_in import SigningIn, sign_in_for

VISITOR = "lamplighter.visitor"
"""Under this key of its scope a request for the page carries who asks."""

_FILES = re.compile(rf'"({paths.TOOLKIT}[^"]+\.m?(?:js|css))"')
_SAFE = frozenset({"GET", "HEAD"})
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")
_NO_STORE = (b"cache-control", b"no-store")
_MOST_DOCUMENT = 4_000_000
_MOST_SOCKETS = 1000
_TOLD = frozenset({b"host", b"sec-purpose", b"purpose"})
"""What the toolkit learns of a request for a screen: whether it is made ahead of its time."""


class Snapshots(Protocol):
    """Tells all of the board as JSON: `Feed` does."""

    async def snapshot(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the page is made of. `toolkit` draws documents and speaks through the socket; `door` is the gateway."""

    management: ASGIApp
    toolkit: ASGIApp
    door: Callable[[], ASGIApp]
    access: Access
    sources: Sources
    sessions: Sessions
    signing_in: SigningIn
    assets: Assets
    feed: Snapshots
    open_sockets: Callable[[], int]


class Site:
    """Serves the page, and passes everything else on to the management routes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._library = Library(parts.toolkit)
        self._sockets = 0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        kind = scope["type"]
        if kind == "lifespan":
            return self._parts.management(scope, receive, send)
        if kind == "websocket":
            return self._socket(scope, receive, send)
        serve = self._find(scope["path"])
        return (serve or self._parts.management)(scope, receive, send)

    async def warm(self) -> None:
        """Have the toolkit draw a document and read its files once, so that no visitor waits for that."""
        taken = bytearray()

        async def take(message: Message) -> None:
            taken.extend(message.get("body", b""))

        asked: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "client": None,
            "server": None,
        }
        visitor = Visitor(ANYBODY)
        await self._parts.toolkit({**asked, "path": "/", "raw_path": b"/", VISITOR: visitor}, _body(), take)
        for path in sorted(set(_FILES.findall(taken.decode()))):
            await self._library({**asked, "path": path, "raw_path": path.encode()}, _body(), _nowhere)

    def _find(self, path: str) -> Callable[[Scope, Receive, Send], Awaitable[None]] | None:
        if path.startswith(paths.OWN):
            return self._own
        if path.startswith(paths.SOCKET):
            return self._polling
        if path.startswith(paths.TOOLKIT):
            return self._library
        if path == paths.SIGN_IN:
            return self._parts.signing_in.serve
        if path == paths.SIGN_OUT:
            return self._sign_out
        if path == paths.FAVICON:
            return self._favicon
        return self._document if screen_at(path) else None

    # What is drawn by the toolkit.

    async def _document(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _SAFE:
            await _refuse(send, 405, "A screen can only be looked at.")
            return
        visitor = self._visitor(scope)
        if visitor is None:
            await redirect(send, sign_in_for(scope))
            return
        if not await self._counts(visitor, scope, send):
            return
        nonce = secrets.token_urlsafe(16)
        more = [(b"content-security-policy", content_policy(nonce))]
        if (renewed := self._parts.sessions.renewed(visitor)) is not None:
            more.append((b"set-cookie", set_cookie(renewed, secure=visitor.secure).encode()))
        await self._parts.toolkit(_plain(scope, visitor), receive, _Rewritten(send, nonce, more))

    async def _polling(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The socket's stand-in where a websocket can't get through."""
        visitor = self._visitor(scope)
        if visitor is None or not _is_own_request(scope):
            await _refuse(send, 403, "This is for the page of this server, signed in.")
            return
        if scope["path"] != paths.SOCKET_IO:
            await _refuse(send, 404, "There is nothing here.")
            return
        begins = b"sid=" not in scope["query_string"]
        if begins and self._parts.open_sockets() >= _MOST_SOCKETS:
            await _refuse(send, 503, "As many pages are open as this server takes; close some.")
            return
        await self._parts.toolkit({**scope, VISITOR: visitor}, receive, _Hardened(send))

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        visitor = self._visitor(scope)
        own = is_own_origin(header(scope, b"origin"), header(scope, b"host"))
        right = visitor is not None and own and scope["path"] == paths.SOCKET_IO
        if not right or max(self._sockets, self._parts.open_sockets()) >= _MOST_SOCKETS:
            await receive()
            await send({"type": "websocket.close", "code": 1008 if not right else 1013})
            return
        self._sockets += 1
        try:
            await self._parts.toolkit({**scope, VISITOR: visitor}, receive, send)
        finally:
            self._sockets -= 1

    # What the page's own code asks for.

    async def _own(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(paths.ASSETS):
            await self._asset(scope, send)
            return
        visitor = self._visitor(scope)
        if visitor is None:
            await _refuse(send, 401, "Sign in first.")
        elif not _is_own_request(scope):
            await _refuse(send, 403, "This is for the page of this server alone.")
        elif path == paths.BOARD and scope["method"] in _SAFE and visitor.may(Role.OPERATE):
            if await self._counts(visitor, scope, send):
                await answer(send, 200, await self._parts.feed.snapshot(), b"application/json", [_NO_STORE])
        elif (inner := paths.rest_path(path)) is not None:
            await self._forward(scope, receive, send, inner, visitor)
        else:
            await _refuse(send, 404, "There is nothing here.")

    async def _forward(self, scope: Scope, receive: Receive, send: Send, path: str, visitor: Visitor) -> None:
        """Pass a request on as any program's that shows the visitor's key: same routes, same rights, same records."""
        left_out = {b"cookie", b"authorization", b"x-api-key", b"origin"}
        headers = [pair for pair in scope["headers"] if pair[0] not in left_out]
        if visitor.session:
            headers.append((b"authorization", b"Bearer " + self._parts.access.keyring.lend(visitor.key).encode()))
        raw: bytes = scope["raw_path"]
        if not raw.startswith(paths.REST.encode()):
            await _refuse(send, 404, "There is nothing here: write the address plainly.")
            return
        inner = {**scope, "path": path, "raw_path": raw.removeprefix(paths.REST.encode()), "headers": headers}
        await self._parts.door()(inner, receive, _Hardened(send, [*INERT, _NO_STORE]))

    async def _asset(self, scope: Scope, send: Send) -> None:
        asset = self._parts.assets.find(scope["path"])
        if asset is None:
            await _refuse(send, 404, "There is no such file.")
        elif "gzip" in (header(scope, b"accept-encoding") or ""):
            more = [_FOR_EVER, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
            await answer(send, 200, asset.zipped, asset.media, more)
        else:
            await answer(send, 200, asset.content, asset.media, [_FOR_EVER, (b"vary", b"accept-encoding")])

    async def _favicon(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as all of them
        await redirect(send, f"{self._parts.assets.base}assets/lamp.svg")

    async def _sign_out(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as all of them
        await self._parts.signing_in.sign_out(scope, send)

    async def _counts(self, visitor: Visitor, scope: Scope, send: Send) -> bool:
        """Whether a visitor may ask for what costs something: as often as for anything else of the management."""
        who = visitor.key.id if visitor.session else self._parts.sources.of(scope) or "somewhere"
        try:
            self._parts.access.count(who, time.monotonic())
        except TooManyRequests as error:
            await _refuse(send, error.status, error.message)
            return False
        return True

    def _visitor(self, scope: Scope) -> Visitor | None:
        return self._parts.sessions.visitor(header(scope, b"cookie") or "")


def _body() -> Receive:
    """That of a request without one, whose client stays."""
    came: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not came:
            await asyncio.get_running_loop().create_future()
        return came.pop()

    return receive


async def _nowhere(message: Message) -> None:
    """Nobody reads it."""


def _plain(scope: Scope, visitor: Visitor) -> Scope:
    """The same request for a screen without anything that a document could be made to repeat.

    What is compressed can't be marked, so nothing is asked to be.
    """
    screen = screen_at(scope["path"])
    path = screen.path if screen is not None else "/"
    told = [pair for pair in scope["headers"] if pair[0] in _TOLD]
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": told, VISITOR: visitor}


def _is_own_request(scope: Scope) -> bool:
    """Whether the page itself asks. What changes something has to tell its origin; browsers do.

    The cookie alone would not be proof enough for a site on another port of this machine: to browsers that is the same
    site.
    """
    origin, host = header(scope, b"origin"), header(scope, b"host")
    if origin is not None or scope["method"] not in _SAFE:
        return is_own_origin(origin, host)
    return header(scope, b"sec-fetch-site") in {None, "same-origin", "none"}


async def _refuse(send: Send, status: int, text: str) -> None:
    body = b'{"success": false, "error": {"status": %d, "code": "page", "message": "%b"}}' % (status, text.encode())
    await answer(send, status, body, b"application/json", [_NO_STORE])


class _Hardened:
    """Sends with the headers that keep a browser careful."""

    def __init__(self, inner: Send, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._inner = inner
        self._more = [*HARDENING, *more]
        self._names = {name for name, _ in self._more}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if pair[0] not in self._names]
            message["headers"] = [*kept, *self._more]
        await self._inner(message)


class _Rewritten:
    """Collects a document, and sends it with the nonce in it and the policy before it."""

    def __init__(self, inner: Send, nonce: str, more: list[tuple[bytes, bytes]]) -> None:
        self._inner = inner
        self._nonce = nonce
        self._more = more
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body") and len(self._body) < _MOST_DOCUMENT:
            return
        body = with_nonce(bytes(self._body), self._nonce)
        kept = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
        headers = [*kept, (b"content-length", b"%d" % len(body)), *HARDENING, *self._more]
        await self._inner({**self._start, "headers": headers})
        await self._inner({"type": "http.response.body", "body": body})
