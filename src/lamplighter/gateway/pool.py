"""Connections to endpoints that are kept for the next request."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from time import monotonic

from lamplighter.errors import QueueFull, UpstreamUnreachable
from lamplighter.gateway.address import Origin
from lamplighter.gateway.upstream import UpstreamConnection

# A connection that was used this short a time ago has not been closed for being idle; asking costs a system call.
TRUSTED_FOR = 0.05
# Open files, ports and buffers that have run out here say nothing about the endpoint.
_OUR_OWN_LACK = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})


class Pool:
    """Keeps only connections whose last exchange ended cleanly, a bounded number for each origin."""

    __slots__ = ("_connect_timeout", "_idle", "_idle_timeout", "_per_origin", "_tls")

    def __init__(
        self, *, per_origin: int, idle_timeout: float, connect_timeout: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._connect_timeout = connect_timeout
        self._per_origin = per_origin
        self._idle_timeout = idle_timeout
        self._tls = tls
        self._idle: dict[Origin, list[UpstreamConnection]] = {}

    def take(self, origin: Origin) -> UpstreamConnection | None:
        """The connection that was used last and is still good, if there is one."""
        waiting = self._idle.get(origin)
        while waiting:
            connection = waiting.pop()
            if connection.ended or connection.transport.is_closing():
                continue
            age = monotonic() - connection.idle_since
            if age < TRUSTED_FOR or (age < self._idle_timeout and not connection.has_news()):
                return connection
            connection.abort()
        return None

    def give(self, origin: Origin, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over, or hang up if it can't be trusted."""
        waiting = self._idle.get(origin)
        if waiting is None:
            waiting = self._idle[origin] = []
        if len(waiting) < self._per_origin and connection.is_reusable():
            connection.idle_since = monotonic()
            waiting.append(connection)
        else:
            connection.abort()

    async def connect(self, origin: Origin) -> UpstreamConnection:
        """Open a new connection. Raises UpstreamUnreachable, QueueFull. Cancel it to give up."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(loop),
                    origin.host,
                    origin.port,
                    ssl=self._context() if origin.tls else None,
                )
        except TimeoutError as error:
            raise UpstreamUnreachable("The endpoint did not accept a connection in time.") from error
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", None) or error.reason or "handshake failed"
            raise UpstreamUnreachable(f"No secure connection to the endpoint: {reason}.") from error
        except (socket.gaierror, UnicodeError) as error:  # the latter for what can't even be asked for
            raise UpstreamUnreachable("The endpoint's host name is not known.") from error
        except OSError as error:
            if error.errno in _OUR_OWN_LACK:
                raise QueueFull("This server has no connection left to ask with; try again shortly.") from error
            raise UpstreamUnreachable("The endpoint does not accept connections.") from error
        return connection

    def sweep(self, now: float) -> bool:
        """Hang up on connections that have been idle too long. True while any are kept."""
        for origin, waiting in list(self._idle.items()):
            kept = [c for c in waiting if not c.ended and now - c.idle_since < self._idle_timeout]
            for connection in waiting:
                if connection not in kept:
                    connection.abort()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        return bool(self._idle)

    def close(self) -> None:
        """Hang up on all idle connections."""
        for waiting in self._idle.values():
            for connection in waiting:
                connection.abort()
        self._idle.clear()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
