"""An endpoint that streams, and a client that counts what arrives.

`python -m tests.bench.streams PORT CHUNKS INTERVAL` serves: each answer is CHUNKS server-sent events, one every INTERVAL
seconds, and one with the usage behind them where that is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import uvloop

from tests.bench.tools import free_port, running
from tests.bench.wrk import KEY, NAME

_EVENT = b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" lamp"}}]}\n\n'
_USAGE = (
    b'data: {"id":"1","object":"chat.completion.chunk","choices":[],'
    b'"usage":{"prompt_tokens":20,"completion_tokens":60,"total_tokens":80}}\n\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_READ_WITHIN = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How long a stream is, and how many seconds pass between its chunks."""

    chunks: int = 1000
    interval: float = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """`pieces` are the reads of a socket that brought the chunks: fewer, where some arrived together."""

    chunks: int
    pieces: int


class _Streaming(asyncio.Protocol):
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._left = 0
        self._usage = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            self._left = self._shape.chunks
            self._usage = b"include_usage" in data
            self.transport.write(_HEAD)
            self.next()

    def next(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(_chunk(_EVENT))
        self._left -= 1
        if self._left:
            asyncio.get_running_loop().call_later(self._shape.interval, self.next)
        else:
            self.transport.write((_chunk(_USAGE) if self._usage else b"") + b"0\r\n\r\n")


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


@contextlib.contextmanager
def endpoint(shape: Shape | None = None) -> Iterator[int]:
    """The streaming endpoint in a process of its own."""
    shape = shape or Shape()
    port = free_port()
    words = [sys.executable, "-m", "tests.bench.streams", str(port), str(shape.chunks), str(shape.interval)]
    with running(words, port):
        yield port


def read(port: int, *, count: int, shape: Shape | None = None, key: str = KEY) -> Arrived:
    """Read `count` streams at once to their end. Fails if a chunk is lost, or comes that was not asked for."""
    return uvloop.run(_read_all(port, count, shape or Shape(), key))


async def _read_all(port: int, count: int, shape: Shape, key: str) -> Arrived:
    async with asyncio.timeout(_READ_WITHIN + shape.chunks * shape.interval):
        seen = await asyncio.gather(*(_read_one(port, key, after=shape.interval * n / count) for n in range(count)))
    arrived = [text.count(b"data: ") for text, _ in seen]
    if set(arrived) != {shape.chunks}:
        raise SystemExit(f"{shape.chunks} chunks were to arrive on each stream, and these did: {sorted(arrived)}")
    return Arrived(chunks=sum(arrived), pieces=sum(pieces for _, pieces in seen))


class _Reading(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._seen: list[bytes] = []
        self.ended: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._seen.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result((b"".join(self._seen), len(self._seen)))


async def _read_one(port: int, key: str, *, after: float) -> tuple[bytes, int]:
    """All that came, and in how many pieces. Streams begin one after another: else their chunks would come all at once."""
    await asyncio.sleep(after)
    body = json.dumps({"model": NAME, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
    request = head.encode() + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body
    _, reading = await asyncio.get_running_loop().create_connection(lambda: _Reading(request), "127.0.0.1", port)
    return await reading.ended


async def _serve(port: int, shape: Shape) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Streaming(shape), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Shape(chunks=int(sys.argv[2]), interval=float(sys.argv[3]))))
