"""Pages of other origins (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol): none may, unless it is named.

A browser tells the origin of a page with its request, and shows the page an answer only if the answer's headers allow
that origin. Programs send no origin, and pay nothing for this.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from lamplighter.gateway.asgi import Headers, Message, Send

ANY = "*"

SANDBOXED: Headers = [(b"content-security-policy", b"sandbox")]
"""For an answer that a browser opens as a page, which it tells with `Upgrade-Insecure-Requests`.

What an endpoint wrote would belong to this server's site otherwise, and could do what its visitor may do here.
"""

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_MAX_AGE = b"7200"  # seconds; browsers cap it there or below
_SHOWN = b", ".join(
    (
        b"x-request-id",
        b"x-lamplighter-target",
        b"x-lamplighter-waited-ms",
        b"x-lamplighter-hold-limit",
        b"x-lamplighter-fallback",
        b"retry-after",
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
        b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-tokens",
        b"x-ratelimit-reset-tokens",
    )
)
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,2000}").fullmatch


class Origins:
    """The origins whose pages may read answers: exact ones, or `*` for all."""

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._any = ANY in allowed
        self._exact = frozenset(origin.encode() for origin in allowed if origin != ANY)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may read answers."""
        return self._any or origin in self._exact

    def names(self, origin: bytes) -> bool:
        """Whether it is allowed by its name: such a page may also operate a server that has no keys."""
        return origin in self._exact

    def answer_headers(self, origin: bytes) -> Headers:
        """What an answer says to a page that may read it."""
        return [*self._allowed(origin), (b"access-control-expose-headers", _SHOWN)]

    def preflight_headers(self, origin: bytes, asked: bytes | None) -> Headers:
        """What the answer to a preflight says; `asked` are the request headers that the page wants to send."""
        headers = [*self._allowed(origin), (b"access-control-allow-methods", _METHODS)]
        if asked and _HEADER_NAMES(asked):
            headers.append((b"access-control-allow-headers", asked))
        return [*headers, (b"access-control-max-age", _MAX_AGE)]

    def _allowed(self, origin: bytes) -> Headers:
        if self._any and origin not in self._exact:
            return [(b"access-control-allow-origin", b"*")]
        return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]


class MarkedSend:
    """Sends what it is given, with more headers. `inner` is what the server gave to send with."""

    __slots__ = ("_headers", "inner")

    def __init__(self, inner: Send, headers: Headers) -> None:
        self.inner = inner
        self._headers = headers

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self.inner(message)
