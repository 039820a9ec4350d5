"""Answers that the page gives by itself."""

from __future__ import annotations

from collections.abc import Iterable

from lamplighter.gateway.asgi import Headers, Scope, Send
from lamplighter.web.policy import HARDENING


def header(scope: Scope, name: bytes) -> str | None:
    """One header of a request; several Cookie headers count as one (RFC 9113, section 8.2.3)."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ("; " if name == b"cookie" else ", ").join(values) if values else None


async def answer(send: Send, status: int, body: bytes, media: bytes, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send all of an answer."""
    headers: Headers = [
        (b"content-type", media),
        (b"content-length", b"%d" % len(body)),
        *HARDENING,
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def redirect(send: Send, place: str, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a browser elsewhere, by GET."""
    place_header = (b"location", place.encode("ascii", "ignore"))
    await answer(send, 303, b"", b"text/plain", [place_header, (b"cache-control", b"no-store"), *more])
