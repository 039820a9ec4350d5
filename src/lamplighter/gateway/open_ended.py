"""Answers to HTTP/1.0 clients, which read no chunks: a body of unknown length lasts until the connection is closed.

RFC 9112, section 6.1. uvicorn sends chunks to every client, and nginx speaks HTTP/1.0 to what it stands before unless
it is told otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent


class OpenEndedCycle(RequestResponseCycle):
    """One request of an HTTP/1.0 client. Its connection is closed behind the answer in any case."""

    _open_ended = False

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn does it, but for how the end of a body is told."""
        if message["type"] == "http.response.start":
            given = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            bodiless = self.scope["method"] == "HEAD" or message["status"] in {204, 304}
            self._open_ended = not given and not bodiless
            if self._open_ended:
                self.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._open_ended:
            self.expected_content_length = len(message.get("body", b""))  # of each piece as much as there is
        await super().send(message)
