"""An endpoint that streams, and a client that counts what arrives.

`python -m tests.bench.streams PORT` serves: each answer is CHUNKS server-sent events, one every INTERVAL seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import cast

import uvloop

from tests.bench.tools import free_port, running
from tests.bench.wrk import KEY, NAME

CHUNKS = 1000
INTERVAL = 0.004
_EVENT = b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" lamp"}}]}\n\n'
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_READ_WITHIN = 10.0


class _Streaming(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.left = 0

    def data_received(self, data: bytes) -> None:
        if self.left == 0:
            self.left = CHUNKS
            self.transport.write(_HEAD)
            self.next()

    def next(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(_CHUNK)
        self.left -= 1
        if self.left:
            asyncio.get_running_loop().call_later(INTERVAL, self.next)
        else:
            self.transport.write(b"0\r\n\r\n")


@contextlib.contextmanager
def endpoint() -> Iterator[int]:
    """The streaming endpoint in a process of its own."""
    port = free_port()
    with running([sys.executable, "-m", "tests.bench.streams", str(port)], port):
        yield port


def read(port: int, *, count: int) -> int:
    """Read `count` streams at once to their end; returns how many chunks arrived."""
    return uvloop.run(_read_all(port, count))


async def _read_all(port: int, count: int) -> int:
    async with asyncio.timeout(_READ_WITHIN):
        arrived = await asyncio.gather(*(_read_one(port) for _ in range(count)))
    if set(arrived) != {CHUNKS}:
        raise SystemExit(f"chunks were lost: {sorted(arrived)}")
    return sum(arrived)


async def _read_one(port: int) -> int:
    body = json.dumps({"model": NAME, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\n"
    writer.write(head.encode() + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
    seen = await reader.read()
    writer.close()
    return seen.count(b"data: ")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Streaming, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
