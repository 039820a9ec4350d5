"""How uvicorn has to be run for the gateway."""

from __future__ import annotations

import array
import asyncio
import fcntl
import select
import socket
import sys
import termios
from typing import Any, cast

import httptools
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from lamplighter.gateway.accepting import Accepting
from lamplighter.gateway.app import Gateway
from lamplighter.gateway.descriptors import connections_possible
from lamplighter.gateway.open_ended import OpenEndedCycle
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.turned_away import TurnedAway

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_NOT_HTTP = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_AROUND_HEADER = 4
"""Bytes of a header that are neither its name nor its value."""

_MAX_PIPELINED = 32
"""How many requests may wait behind the one that is being answered. Each costs some KiB before anybody looks at it."""

_REST_OF_BODY = 5.0
"""How long the body of a request that was refused is read on, so that the connection can be kept (seconds)."""


_MOST_FROM_WEBSOCKET = 1_000_000
"""The longest message that a websocket may bring (bytes)."""


class _Trailers(list[tuple[bytes, bytes]]):
    """Takes them and keeps none: a proxy before us that checks headers has not looked at them.

    Those that would change how a message is read are not allowed there (RFC 9110, section 6.5.1). The parser itself
    refuses the others; with this one it would silently drop what follows.
    """

    def append(self, trailer: tuple[bytes, bytes]) -> None:
        if trailer[0] == b"connection":
            raise ValueError("a trailer that says how to read the message")


_DROPPED = _Trailers()

_GOODBYE_LOOK = 1.0
"""How often it is looked whether a client is still there from which nothing is read (seconds)."""

_LINGER = 1.0
"""How long a connection has to be quiet until it is closed, when the address is handed over (seconds)."""

_LINGER_LOOK = 0.05


class GatewayProtocol(HttpToolsProtocol):
    """uvicorn's protocol with what it lacks: bounds on connections, on a head's size and on the time that it takes.

    What can't be understood ends a connection behind the answers to what came before it, and is never answered in
    their place. A request to change the protocol is served without it, as RFC 9110 section 7.8 lets a server do.

    uvicorn starts and cancels a keep-alive timer for each request. Here a connection has one at a time: when that goes
    off, it looks since when the connection has been idle.
    """

    max_head_bytes = GatewaySettings().max_head_bytes
    head_timeout = GatewaySettings().head_timeout
    max_connections = GatewaySettings().max_connections
    turn_away = TurnedAway()
    websocket_path: bytes | None = None
    """Below it websockets are let through; None: nowhere."""

    # What few connections ever need stands on the class.
    _overhead = 0
    _body_seen: bytearray | None = None
    _body_length = 0
    _upgrade: tuple[bytes, int] | None = None
    _resuming = False
    _is_websocket = False
    """Whether another protocol has taken the connection over."""
    _unsent: int | None = None
    """What an idle client had not read of its last answer, when its time was up (bytes)."""
    _goodbye: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | None = None
    """The one that is being answered while others wait behind it; `cycle` is the latest."""

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
        self._idle_since: float | None = None
        self._much_at_once = False
        self._head_too_large = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self.connections) >= self.max_connections:
            self.turn_away(cast("asyncio.Transport", transport), self.max_connections)
            return
        super().connection_made(cast("asyncio.Transport", transport))
        self._await_head()

    def data_received(self, data: bytes) -> None:
        idle_since, scope = self._idle_since, self.scope
        self._much_at_once = len(data) > self.max_head_bytes
        super().data_received(data)
        if self._is_websocket:
            return
        if self.scope is scope and idle_since is not None:
            self._idle_since = idle_since  # line breaks between requests begin nothing
        if not self.scope.get("method"):  # set when a head is complete
            self._head_goes_on(data)
        elif self._head_timer is not None:
            self._head_done()
        elif self.cycle.more_body:
            self._body_goes_on(len(data))
        if self.pipeline and self.flow.read_paused and self._goodbye is None:
            self._goodbye = self.loop.call_later(_GOODBYE_LOOK, self._look_for_goodbye)

    def _look_for_goodbye(self) -> None:
        """Notice a client that leaves while nothing is read, because enough has come of a request that has to wait.

        A goodbye that stands behind more than the system takes for us is not noticed; a reset is.
        """
        self._goodbye = None
        if not self.pipeline or not self.flow.read_paused or self.transport.is_closing():
            return
        if _has_left(self.transport):
            self.transport.abort()
        else:
            self._goodbye = self.loop.call_later(_GOODBYE_LOOK, self._look_for_goodbye)

    def on_headers_complete(self) -> None:
        """Refuse a head that came whole and is too large; one that comes in pieces is cut short as it comes."""
        if self._much_at_once and self._head_size() > self.max_head_bytes:
            self._head_too_large = True
            raise ValueError("the head is too large")  # stops the parser: uvicorn then calls `send_400_response`
        latest = self.cycle
        if self.pipeline and len(self.pipeline) >= _MAX_PIPELINED:
            raise ValueError("too many requests at once")
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = OpenEndedCycle  # its task has been made, and has not run yet
        self.headers = _DROPPED
        if self.pipeline:
            if len(self.pipeline) == 1:
                self._answering = latest
            self.flow.resume_reading()  # uvicorn has paused it, and a client that leaves would not be noticed

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + _AROUND_HEADER for name, value in self.headers)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser knows no more than that
        self._break_off(_TOO_LARGE if self._head_too_large else _NOT_HTTP)

    def _should_upgrade(self) -> bool:
        """Asked for requests that want another protocol: True makes uvicorn call the next method instead of the app."""
        return True

    def handle_websocket_upgrade(self) -> None:
        """Called amid `data_received` for any such request: the parser has read its head, and takes no body."""
        error = sys.exception()
        assert isinstance(error, httptools.HttpParserUpgrade)
        if self._opens_websocket():
            self._is_websocket = True
            self._head_done()
            self._cancel_keep_alive()
            super().handle_websocket_upgrade()
        elif self._resuming or self.scope["method"] == "CONNECT":
            self._break_off(_NOT_HTTP)
        else:
            self._upgrade = _head_without_upgrade(self.scope, self.url), error.args[0]
            self.scope = cast("HTTPScope", {})

    def _opens_websocket(self) -> bool:
        """Whether it asks for a websocket where there is one, and nothing before it is still to be answered."""
        path, headers = self.websocket_path, self.scope["headers"]
        if path is None or not self.url.startswith(path) or self.scope["method"] != "GET":
            return False
        if self.pipeline or not (self.cycle is None or self.cycle.response_complete):
            return False
        return any(name == b"upgrade" and value.lower() == b"websocket" for name, value in headers)

    def _cancel_keep_alive(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _go_on_without_upgrade(self, head: bytes, rest: bytes) -> None:
        self._upgrade = None
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._resuming = True
        self.data_received(head + rest)
        self._resuming = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_done()
        self._tell_who_is_answered()
        super().connection_lost(exc)
        if self._goodbye is not None:
            self._goodbye.cancel()
            self._goodbye = None
        self._cancel_keep_alive()

    def on_response_complete(self) -> None:
        """As uvicorn does it, but for the timer."""
        if self.pipeline:
            self._answering = self.pipeline[-1][0]
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._time_idleness(self.timeout_keep_alive)

    def _tell_who_is_answered(self) -> None:
        """The latest request is told by uvicorn that the client is gone: another one if there are several."""
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def timeout_keep_alive_handler(self) -> None:
        """The keep-alive timer: close what has been idle for long enough."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            self._unsent = None
            return  # amid a request: the end of its answer starts the next timer
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._unsent = None
            self._time_idleness(left)
        else:
            self._end_idleness()

    def _end_idleness(self) -> None:
        """Hang up. Who is behind in reading its last answer gets as long again, as often as it has read some of it."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if not self._unsent:
            super().timeout_keep_alive_handler()
        elif before is None or self._unsent < before:
            self._time_idleness(self.timeout_keep_alive)
        else:
            self.transport.abort()  # `close` would wait for ever until all is read

    @property
    def is_quiet(self) -> bool:
        """Whether no request is under way here, and none has begun to come."""
        return not self._head_bytes and (self.cycle is None or self.cycle.response_complete)

    @property
    def is_asked(self) -> bool:
        """Whether a part of a request's head has come."""
        return self._head_bytes > 0

    def announce_end(self) -> None:
        """Let the answer that is still to begin tell that it is the last one here.

        One that has begun can't say so any more: its connection is kept for the next request, whose answer can.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_started and not self.pipeline:
            cycle.keep_alive = False

    def close_if_unused(self) -> bool:
        """Hang up, unless something has come that nobody has read yet."""
        if not self.transport.is_closing() and _unread(self.transport):
            return False
        self.transport.close()
        return True

    def _time_idleness(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout, self._refuse, _TOO_SLOW)

    def _head_done(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_goes_on(self, data: bytes) -> None:
        if self._upgrade is not None:
            head, at = self._upgrade
            self._go_on_without_upgrade(head, data[at:])
            return
        if self._head_timer is None:
            self._await_head()
        self._head_bytes += len(data)
        if self._head_bytes > self.max_head_bytes:
            self._refuse(_TOO_LARGE)

    def _body_goes_on(self, size: int) -> None:
        """Bound what comes beside a body: trailers without end, and the rest of a body that nobody waits for."""
        cycle = self.cycle
        if cycle.response_complete:
            if self._idle_since is not None and self.loop.time() - self._idle_since > _REST_OF_BODY:
                self.transport.close()
            return
        body = cycle.body  # another object when the last one was taken
        grew = len(body) > (self._body_length if body is self._body_seen else 0)
        self._body_seen, self._body_length = body, len(body)
        self._overhead = 0 if grew else self._overhead + size
        if self._overhead > self.max_head_bytes:
            self._break_off(_TOO_LARGE)

    def _refuse(self, answer: bytes) -> None:
        self._break_off(answer if self._head_bytes else b"")

    def _break_off(self, answer: bytes) -> None:
        """Believe nothing more that comes on this connection: answer what came before it, and hang up."""
        cycle = self.cycle
        if self.transport.is_closing():
            return
        if cycle is None or cycle.response_complete:
            self._hang_up(answer if cycle is None or self.scope is not cycle.scope else b"")
        elif not cycle.more_body:
            self._listen_no_more()
        elif self.pipeline:  # the broken one waits for its turn, and is told then
            self.pipeline[0] = (cycle, _refuse_broken)
            cycle.more_body = False
            self._listen_no_more()
        else:
            self._hang_up(b"" if cycle.response_started else answer)

    def _hang_up(self, last_words: bytes) -> None:
        if last_words:
            self.transport.write(last_words)
        self.transport.close()

    def _listen_no_more(self) -> None:
        """Go on reading, so that a client's goodbye is noticed, and do nothing with what comes."""
        self.cycle.keep_alive = False
        self.scope = self.cycle.scope
        self.parser = cast("httptools.HttpRequestParser", _Deaf())
        self._head_done()
        self.flow.resume_reading()


class _Deaf:
    """Stands where a parser would."""

    def feed_data(self, data: bytes) -> None:
        """Nobody listens."""

    def should_upgrade(self) -> bool:
        return False


async def _refuse_broken(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:  # noqa: ARG001
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 400, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _head_without_upgrade(scope: HTTPScope, url: bytes) -> bytes:
    """The head of a request that asks to change the protocol, as it would be if it did not."""
    lines = [b"%b %b HTTP/%b\r\n" % (scope["method"].encode(), url, scope["http_version"].encode())]
    for name, value in scope["headers"]:
        kept = value
        if name == b"connection":
            kept = b",".join(token for token in value.split(b",") if token.strip().lower() != b"upgrade")
        if kept or not value:
            lines.append(b"%b: %b\r\n" % (name, kept))
    return b"".join(lines) + b"\r\n"


class GatewayServer(Server):
    """uvicorn's server, ending in order: stop accepting, let requests finish for `grace` seconds, cut the rest.

    With `hands_over` somebody else holds the listening socket, too, and another server will accept from it: then no
    request is refused. What is connected here gets one more answer, which says that its connection ends with it.
    """

    def __init__(self, gateway: Gateway, config: Config, *, grace: float, hands_over: bool = False) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._hands_over = hands_over
        self._accepting: list[Accepting] = []
        self.grace = grace

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn, to listen at `sockets`: those that `serve` was given. Raises ValueError without any."""
        if not sockets:
            raise ValueError("the sockets to listen at are missing: give them to `serve`")
        await super().startup([])
        self._accepting = [Accepting(listener, self._protocol) for listener in sockets]

    def _protocol(self) -> GatewayProtocol:
        protocol = cast("type[GatewayProtocol]", self.config.http_protocol_class)
        return protocol(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn after SIGINT, SIGTERM or `should_exit`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.grace
        for accepting in self._accepting:
            accepting.close()
            await accepting.settled()
        if self._hands_over:
            await self._serve_out(deadline)
        else:
            for listener in sockets or []:
                listener.close()  # whoever comes now is refused at once, and asks elsewhere
        await self._gateway.drain(max(0.0, deadline - loop.time()))
        await super().shutdown(sockets)

    async def _serve_out(self, deadline: float) -> None:
        """Wait until nobody has anything to ask here any more, at most until `deadline` (loop time).

        A connection that is quiet for a while is closed. A request that is on its way at that very moment is lost:
        HTTP has no word for "ask elsewhere" on a connection where nothing is asked. Clients know that of every kept
        connection, and send such a request again.
        """
        loop = asyncio.get_running_loop()
        self._gateway.begin_handover()
        for connection in self._connections():
            connection.announce_end()
        quiet: dict[GatewayProtocol, float] = {}
        while (now := loop.time()) < deadline:
            quiet = {one: quiet.get(one, now) for one in self._connections() if one.is_quiet}
            kept = [one for one, since in quiet.items() if now - since < _LINGER or not one.close_if_unused()]
            if not kept and not self._gateway.in_progress and not any(one.is_asked for one in self._connections()):
                return
            await asyncio.sleep(_LINGER_LOOK)

    def _connections(self) -> list[GatewayProtocol]:
        return [one for one in self.server_state.connections if isinstance(one, GatewayProtocol)]


def _unread(transport: asyncio.Transport) -> int:
    """How many bytes the kernel has of it that were not read yet; 0 where it can't tell."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    except (OSError, AttributeError, ValueError):
        return 0
    return count[0]


def _has_left(transport: asyncio.Transport) -> bool:
    """Whether the client has closed its end, or all of the connection; False where the system can't tell."""
    peer_closed = getattr(select, "POLLRDHUP", 0)
    if not peer_closed:
        return False
    poll = select.poll()
    try:
        poll.register(transport.get_extra_info("socket").fileno(), peer_closed)
        return bool(poll.poll(0))
    except (OSError, AttributeError, ValueError):
        return False


def uvicorn_config(
    gateway: Gateway, settings: GatewaySettings | None = None, *, websocket_path: str | None = None, **options: Any
) -> Config:
    """The options of uvicorn that the gateway's promises rest on, and others. Sockets are given to `serve`.

    Websockets are let through below `websocket_path` alone, which takes the package `websockets`.
    """
    settings = settings or GatewaySettings()
    bounds = {
        "max_head_bytes": settings.max_head_bytes,
        "head_timeout": settings.head_timeout,
        "max_connections": connections_possible(settings.max_connections),
        "turn_away": TurnedAway(),
        "websocket_path": websocket_path.encode() if websocket_path else None,
    }
    return Config(
        gateway,
        http=type("BoundedGatewayProtocol", (GatewayProtocol,), bounds),
        **{
            "interface": "asgi3",  # the gateway is no coroutine function, so uvicorn can't tell
            "loop": "auto",
            "ws": "websockets-sansio" if websocket_path else "none",
            "ws_max_size": _MOST_FROM_WEBSOCKET,
            "ws_per_message_deflate": False,  # small messages to many: their compression would cost more than it saves
            "ws_ping_interval": None,  # what speaks through it has its own
            "lifespan": "on",
            "access_log": False,
            "server_header": False,
            "date_header": False,
            "proxy_headers": False,
            "timeout_keep_alive": 75,
            **options,
        },
    )
