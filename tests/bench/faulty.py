"""A stand-in engine that misbehaves on request, and tells how much it was asked.

`python -m tests.bench.faulty PORT [--stall] [--core N]`. A request's header `x-bench-fault` says what is to happen to it:

    reset        the connection is reset without an answer
    stall        nothing is answered, for as long as the client stays
    cut          half an answer comes, then a reset
    500, 429     that status
    leave        nothing is answered: it is the client who is to leave
    leave-stream a stream without an end, for the same

`GET /count` answers how many requests came beside those and beside health checks. With `--stall` every request stalls;
with `--core` it keeps to a core.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import struct
from typing import cast

import uvloop

from lamplighter.gateway.accepting import Accepting
from tests.bench.nginx import ANSWER

_TOKENS = 20
_TOKEN_EVERY = 0.01
_USAGE = b'"usage":{"prompt_tokens":20,"completion_tokens":20,"total_tokens":40}}\n\n'
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" lamp"}}]}\n\n'
_LAST = b'data: {"id":"1","object":"chat.completion.chunk","choices":[],' + _USAGE
_RESET = struct.pack("ii", 1, 0)  # linger for no time: closing resets


def _answer(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, len(body))
    return head + (b"retry-after: 1\r\n\r\n" if status[:1] == b"4" else b"\r\n") + body


_GOOD = _answer(b"200 OK", ANSWER.encode())
_HEALTHY = _answer(b"200 OK", b"{}")
_PROBLEMS = {
    b"500": _answer(b"500 Internal Server Error", b'{"error":{"message":"out of luck"}}'),
    b"429": _answer(b"429 Too Many Requests", b'{"error":{"message":"too much"}}'),
}


class _Engine:
    def __init__(self, *, stalls: bool) -> None:
        self.stalls = stalls
        self.count = 0


class _Connection(asyncio.Protocol):
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, found, rest = self._unread.partition(b"\r\n\r\n")
        if not found:
            return
        length = _header(head, b"content-length")
        if length and len(rest) < int(length):
            return
        self._unread = rest[int(length or b"0") :]
        self._serve(head, rest)

    def _serve(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/health":
            self.transport.write(_HEALTHY)
        elif path == b"/count":
            self.transport.write(_answer(b"200 OK", b"%d" % self._engine.count))
        else:
            self._engine.count += 1
            fault = _header(head, b"x-bench-fault")
            if fault or self._engine.stalls:
                self._misbehave(fault)
            elif b'"stream": true' in body:
                self.transport.write(_STREAM)
                self._tokens(_TOKENS, usage=b"include_usage" in body)
            else:
                self.transport.write(_GOOD)

    def _misbehave(self, fault: bytes) -> None:
        if fault in _PROBLEMS:
            self.transport.write(_PROBLEMS[fault])
        elif fault == b"reset":
            self._reset()
        elif fault == b"cut":
            self.transport.write(_GOOD[: len(_GOOD) // 2])
            asyncio.get_running_loop().call_later(0.1, self._reset)
        elif fault == b"leave-stream":
            self.transport.write(_STREAM)
            self._tokens(-1, usage=False)

    def _reset(self) -> None:
        connection: socket.socket = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _tokens(self, left: int, *, usage: bool) -> None:
        if self.transport.is_closing():
            return
        if left == 0:
            self.transport.write((_chunk(_LAST) if usage else b"") + b"0\r\n\r\n")
            return
        self.transport.write(_chunk(_EVENT))
        asyncio.get_running_loop().call_later(_TOKEN_EVERY, lambda: self._tokens(left - 1, usage=usage))


def _header(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.lower().partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else b""


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


async def _serve(port: int, *, stalls: bool) -> None:
    engine = _Engine(stalls=stalls)
    with socket.create_server(("127.0.0.1", port), backlog=4096) as listener:
        Accepting(listener, lambda: _Connection(engine))
        await asyncio.get_running_loop().create_future()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--stall", action="store_true")
    parser.add_argument("--core", type=int)
    wanted = parser.parse_args()
    if wanted.core is not None:
        os.sched_setaffinity(0, {wanted.core})
    uvloop.run(_serve(wanted.port, stalls=wanted.stall))


if __name__ == "__main__":
    _main()
