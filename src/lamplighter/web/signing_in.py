"""The form that asks for a key: a page without any script."""

from __future__ import annotations

import asyncio
import html
import time
from functools import partial
from urllib.parse import parse_qs, quote

import structlog

from lamplighter.api.access import Access
from lamplighter.control.sources import Sources
from lamplighter.errors import LamplighterError, NotAllowed
from lamplighter.gateway.asgi import Receive, Scope, Send
from lamplighter.web.answering import answer, header, redirect
from lamplighter.web.paths import SIGN_IN
from lamplighter.web.policy import is_own_origin, plain_policy
from lamplighter.web.screens import screen_at
from lamplighter.web.sessions import Sessions, set_cookie

log = structlog.get_logger("lamplighter.web")

_MOST_BODY = 4096
_BODY_TIMEOUT = 10.0
_FORM = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Lamplighter</title><link rel="icon" href="{base}assets/lamp.svg">
<link rel="stylesheet" href="{base}assets/page.css"></head>
<body class="plain"><main class="sign-in"><form method="post" action="/sign-in?next={next}">
<h1><span class="lamp awake" aria-hidden="true"></span>Lamplighter</h1>
<p class="quiet">Sign in with a key of this server. The browser keeps a session, and never the key.</p>
<label for="key">Key</label>
<input id="key" name="key" type="password" required autofocus autocomplete="current-password" spellcheck="false"
 {invalid}>
{problem}
<button class="primary" type="submit">Sign in</button>
<p class="quiet">No key? Whoever runs this server makes one: <code>lamplighter key create NAME --role operate</code></p>
</form></main></body></html>
"""


class SigningIn:
    """Shows the form, takes a key, and signs out. `base` is where the page's files are."""

    def __init__(self, access: Access, sessions: Sessions, sources: Sources, base: str) -> None:
        self._access = access
        self._sessions = sessions
        self._sources = sources
        self._base = base

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for the form or with a key."""
        place = _next(scope)
        if self._access.keyring.is_open or (
            scope["method"] != "POST" and self._sessions.visitor(header(scope, b"cookie") or "")
        ):
            await redirect(send, place)
        elif scope["method"] == "POST":
            await self._take(scope, receive, send, place)
        else:
            await self._show(send, 200, place)

    async def sign_out(self, scope: Scope, send: Send) -> None:
        """Take the cookie back. Only the page's own button does that."""
        if scope["method"] != "POST" or not is_own_origin(header(scope, b"origin"), header(scope, b"host")):
            await answer(send, 403, b"Only the page's own button signs out.", b"text/plain")
            return
        visitor = self._sessions.visitor(header(scope, b"cookie") or "")
        if visitor is not None:
            await asyncio.to_thread(self._sessions.end, visitor)
        gone = [(b"set-cookie", set_cookie("", secure=secure).encode()) for secure in (False, True)]
        await redirect(send, SIGN_IN, gone)

    async def _take(self, scope: Scope, receive: Receive, send: Send, place: str) -> None:
        origin = header(scope, b"origin")
        if not is_own_origin(origin, header(scope, b"host")):
            await self._show(send, 403, place, "This form was sent by another page. Try again from here.")
            return
        secret = await _key(receive)
        if secret is None:
            await self._show(send, 400, place, "No key came with that. Paste it whole.")
            return
        try:
            key = self._access.enter(secret, self._sources.of(scope) or "somewhere", time.monotonic())
            secure = (origin or "").startswith("https:") or self._sources.is_secure(scope)
            value = await asyncio.to_thread(partial(self._sessions.begin, key, secure=secure))
        except LamplighterError as error:
            log.warning("sign-in refused", code=error.code, source=self._sources.of(scope))
            await self._show(send, error.status, place, _words(error))
            return
        await redirect(send, place, [(b"set-cookie", set_cookie(value, secure=secure).encode())])

    async def _show(self, send: Send, status: int, place: str, problem: str = "") -> None:
        shown = f'<p id="problem" class="problem" role="alert">{html.escape(problem)}</p>' if problem else ""
        body = _FORM.format(
            base=self._base,
            next=quote(place, safe="/"),
            problem=shown,
            invalid='aria-invalid="true" aria-describedby="problem"' if problem else "",
        )
        more = [(b"content-security-policy", plain_policy()), (b"cache-control", b"no-store")]
        await answer(send, status, body.encode(), b"text/html; charset=utf-8", more)


def sign_in_for(scope: Scope) -> str:
    """Where to send a browser that has to sign in first, to come back to where it wanted to go."""
    query = scope.get("query_string", b"").decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    return SIGN_IN if wanted == "/" else f"{SIGN_IN}?next={quote(wanted, safe='/')}"


def _next(scope: Scope) -> str:
    """Where to go afterwards: an address of a screen, and nowhere else."""
    place = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("next", ["/"])[0]
    path = place.partition("?")[0]
    return quote(place, safe="/?&=%+,:@;~!*'()$") if screen_at(path) and not place.startswith("//") else "/"


async def _key(receive: Receive) -> bytes | None:
    """The key in a form that was sent; None where there is none, or no end of it."""
    body = b""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > _MOST_BODY:
                    return None
                if not message.get("more_body"):
                    break
    except TimeoutError:
        return None
    given = parse_qs(body.decode("latin-1"), encoding="latin-1").get("key", [""])[0].strip()
    return given.encode("latin-1", "ignore") or None


def _words(error: LamplighterError) -> str:
    return "This key is not known here." if type(error) is NotAllowed else error.message
