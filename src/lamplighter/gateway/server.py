"""How uvicorn has to be run for the gateway."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from uvicorn._types import HTTPScope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server, ServerState

from lamplighter.gateway.app import Gateway
from lamplighter.gateway.settings import GatewaySettings

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class GatewayProtocol(HttpToolsProtocol):
    """uvicorn's protocol with what it lacks: bounds on a head's size and on the time that it takes."""

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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
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
