"""What is known of a client past ASGI, with uvicorn on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from lamplighter.gateway.asgi import ASGIApp, Message, Receive, Scope, Send
from lamplighter.gateway.origins import MarkedSend
from lamplighter.gateway.shortcuts import abort, client_is_slow

PIECE = bytes(256 * 1024)
MOST_PIECES = 400
ENOUGH = 10.0


class Pouring:
    """Answers with more and more until the client is behind, and then waits for it."""

    def __init__(self) -> None:
        self.pieces = 0
        self.behind = asyncio.Event()
        self.told: list[bool] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrapped = MarkedSend(MarkedSend(send, []), [])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.told.append(client_is_slow(wrapped))
        while not client_is_slow(send) and self.pieces < MOST_PIECES:
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            self.pieces += 1
        self.told.append(client_is_slow(wrapped))
        self.behind.set()
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        self.told.append(client_is_slow(wrapped))
        await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[socket.socket]:
    config = Config(app, interface="asgi3", log_config=None, lifespan="off")
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: HttpToolsProtocol(config=config, server_state=ServerState(), app_state={}), "127.0.0.1", 0
    )
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            yield client


async def rest(client: socket.socket) -> int:
    read = 0
    while piece := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
        read += len(piece)
    return read


async def test_a_client_that_does_not_read_is_slow_until_it_has_read() -> None:
    app = Pouring()
    async with asyncio.timeout(ENOUGH), served(app) as client:
        await app.behind.wait()
        assert await rest(client) > app.pieces * len(PIECE)
    assert app.told == [False, True, False]


async def test_with_another_server_nothing_can_be_told() -> None:
    async def send(message: Message) -> None:
        raise AssertionError(message)

    assert not client_is_slow(send)
    assert not client_is_slow(MarkedSend(send, []))
    assert not abort(MarkedSend(send, []))
