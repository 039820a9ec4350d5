"""How uvicorn has to be run for the gateway."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from uvicorn._types import HTTPScope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from lamplighter.gateway.app import Gateway
from lamplighter.gateway.asgi import ABORT, RESPOND, TAKE_BODY, Headers, Receive, Send
from lamplighter.gateway.settings import GatewaySettings

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class GatewayProtocol(HttpToolsProtocol):
    """uvicorn's protocol with what it lacks: bounds on a head's size and time, and a way to break a transfer off.

    The application finds the latter in `scope["extensions"]`, with `respond` and `take_body`.
    """

    max_head_bytes = GatewaySettings().max_head_bytes
    head_timeout = GatewaySettings().head_timeout

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.scope = cast("HTTPScope", {})
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._extensions: dict[str, Any] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._extensions = {ABORT: self.transport.abort, RESPOND: respond, TAKE_BODY: take_body}
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.scope.get("method"):  # set when a head is complete
            self._head_goes_on(len(data))
        elif self._head_timer is not None:
            self._head_done()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout, self._refuse, _TOO_SLOW)

    def _head_done(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_goes_on(self, size: int) -> None:
        if self._head_timer is None:
            self._await_head()
        self._head_bytes += size
        if self._head_bytes > self.max_head_bytes:
            self._refuse(_TOO_LARGE)

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            if self._head_bytes and (self.cycle is None or self.cycle.response_complete):
                self.transport.write(answer)
            self.transport.close()


def take_body(receive: Receive) -> bytes | None:
    """The request's body if all of it is here, else None: then `receive` tells. `receive` is what uvicorn gave."""
    cycle = getattr(receive, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.more_body or cycle.disconnected:
        return None
    body = bytes(cycle.body)
    cycle.body = bytearray()
    cycle.flow.resume_reading()
    cycle.message_event.clear()
    return body


def respond(send: Send, status: int, headers: Headers, body: bytes) -> bool:
    """Answer at once with all of a response, in one write instead of two; False if that can't be done here.

    `send` is what uvicorn gave for the request. The headers must be known to be well-formed: unlike `send`, this does
    not look at them again. Content-Length is added.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or not cycle.keep_alive or cycle.flow.write_paused:
        return False
    if cycle.disconnected or cycle.response_started or cycle.scope["method"] == "HEAD" or status in {204, 304}:
        return False
    parts = [STATUS_LINE[status]]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"content-length: %d\r\n\r\n" % len(body), body)
    cycle.transport.write(b"".join(parts))
    cycle.waiting_for_100_continue = False
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    cycle.on_response()
    return True


class GatewayServer(Server):
    """uvicorn's server, ending in order: stop accepting, let requests finish for `grace` seconds, cut the rest."""

    def __init__(self, gateway: Gateway, config: Config, *, grace: float) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._grace = grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn after SIGINT, SIGTERM or `should_exit`."""
        for server in self.servers:
            server.close()
        await self._gateway.drain(self._grace)
        await super().shutdown(sockets)


def uvicorn_config(gateway: Gateway, settings: GatewaySettings | None = None, **options: Any) -> Config:
    """The options of uvicorn that the gateway's promises rest on; `options` are host, port, fd and the like."""
    settings = settings or GatewaySettings()
    bounds = {"max_head_bytes": settings.max_head_bytes, "head_timeout": settings.head_timeout}
    return Config(
        gateway,
        http=type("BoundedGatewayProtocol", (GatewayProtocol,), bounds),
        **{
            "loop": "auto",
            "ws": "none",
            "lifespan": "on",
            "access_log": False,
            "server_header": False,
            "date_header": False,
            "proxy_headers": False,
            "timeout_keep_alive": 75,
            **options,
        },
    )
