"""The toolkit's files, kept compressed: to compress them for each page anew would hold up requests."""

from __future__ import annotations

import asyncio
import gzip
import re
from dataclasses import dataclass

from lamplighter.gateway.asgi import ASGIApp, Headers, Message, Receive, Scope, Send
from lamplighter.web.answering import answer, header
from lamplighter.web.paths import TOOLKIT
from lamplighter.web.policy import HARDENING

_MOST_FILES = 200
_MOST_BYTES = 20_000_000
_WORTH_IT = 500
_KINDS = "static|libraries|components|resources|esm"
_FILE = re.compile(rf"{TOOLKIT}[\w.]+/({_KINDS})(/[\w@+-][\w.@+-]*)+").fullmatch
"""The files that the toolkit has. What it answers elsewhere takes memory, and is for nobody."""

_DROPPED = frozenset({b"content-length", b"vary", b"accept-ranges"})
_COMPRESSED = (b"text/", b"application/javascript", b"application/json", b"image/svg")


@dataclass(frozen=True, slots=True)
class _File:
    headers: Headers
    content: bytes
    zipped: bytes | None


class Library:
    """Asks the toolkit for each file once. Their addresses hold its version, so what they answer never changes."""

    def __init__(self, toolkit: ASGIApp) -> None:
        self._toolkit = toolkit
        self._files: dict[str, _File] = {}
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["method"] not in {"GET", "HEAD"} or not _FILE(path):
            await _nothing(send)
            return
        file = self._files.get(path)
        if file is None:
            file = await self._fetch(scope, receive, send)
        if file is not None:
            await _send(file, scope, send)

    async def _fetch(self, scope: Scope, receive: Receive, send: Send) -> _File | None:
        """Ask for a file and keep it; None where it has been answered otherwise."""
        took = _Taken()
        asked = {**scope, "method": "GET", "headers": [], "query_string": b"", "raw_path": scope["path"].encode()}
        await self._toolkit(asked, receive, took)
        if took.start["status"] != 200:
            await _nothing(send)
            return None
        content = bytes(took.body)
        kept = [pair for pair in took.start["headers"] if pair[0] not in _DROPPED]
        media = next((value for name, value in kept if name == b"content-type"), b"")
        zipped = None
        if len(content) > _WORTH_IT and media.startswith(_COMPRESSED):
            zipped = await asyncio.to_thread(gzip.compress, content, mtime=0)
        file = _File([*kept, (b"vary", b"accept-encoding"), *HARDENING], content, zipped)
        size = len(content) + len(zipped or b"")
        if len(self._files) < _MOST_FILES and self._bytes + size < _MOST_BYTES:
            self._files[scope["path"]] = file
            self._bytes += size
        return file


async def _nothing(send: Send) -> None:
    await answer(send, 404, b"There is no such file.", b"text/plain", [(b"cache-control", b"no-store")])


class _Taken:
    """Collects an answer."""

    def __init__(self) -> None:
        self.start: Message = {}
        self.body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")


async def _send(file: _File, scope: Scope, send: Send) -> None:
    wants_zipped = file.zipped is not None and "gzip" in (header(scope, b"accept-encoding") or "")
    content = file.zipped if wants_zipped and file.zipped is not None else file.content
    headers = [*file.headers, (b"content-length", b"%d" % len(content))]
    if wants_zipped:
        headers.append((b"content-encoding", b"gzip"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
