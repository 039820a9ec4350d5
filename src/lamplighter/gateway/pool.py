"""Connections to endpoints that are kept for the next request."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import deque
from math import inf
from time import monotonic

from lamplighter.errors import QueueFull, UpstreamUnreachable
from lamplighter.gateway.address import Origin
from lamplighter.gateway.upstream import UpstreamConnection

# A connection that was used this short a time ago has not been closed for being idle; asking costs a system call.
TRUSTED_FOR = 0.05
# All that waited for an endpoint's start want a connection at the same moment. What its listening socket has no room
# for, the kernel drops without a word and tries again after 1, 3, 7 s. Model servers listen with room for 5 to 4096. So
# they are opened a few at once, and more as long as that goes well, as TCP itself begins slowly.
FEW_AT_ONCE = 32
MANY_AT_ONCE = 512
DROPPED_AFTER = 0.9
# Open files, ports and buffers that have run out here say nothing about the endpoint.
_NOT_IN_TIME = "The endpoint did not accept a connection in time."
_OUR_OWN_LACK = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})


class _Origin:
    """The connections of one origin: those that are idle, how many are being opened, and who waits for a turn.

    `at_once` is how many may be opened at the same time: one more for each that was opened well, so that the number
    doubles with each round trip, and few again after one that was not.
    """

    __slots__ = ("_turns", "at_once", "idle", "opened_at", "opening")

    def __init__(self) -> None:
        self.idle: list[UpstreamConnection] = []
        self.opening = 0
        self.opened_at = -inf
        self.at_once = FEW_AT_ONCE
        self._turns: deque[asyncio.Future[UpstreamConnection | None]] = deque()

    @property
    def is_unused(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.idle or self.opening or self._turns)

    async def turn(self) -> UpstreamConnection | None:
        """Wait until one may be opened, or for one that comes back and is good. `over` ends the turn to open one."""
        while self.opening >= self.at_once:
            turn: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            try:
                kept = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on(turn.result())
                raise
            if kept is None or not kept.ended:
                return kept
        self.opening += 1
        return None

    def hand_on(self, kept: UpstreamConnection | None) -> bool:
        """Give a connection, or the turn to open one, to whoever has waited longest. False if nobody waits."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(kept)
                return True
        return False

    def opened(self, *, at_once: bool) -> None:
        """One was opened, without having to be tried twice or not."""
        self.opened_at = monotonic()
        self.at_once = min(self.at_once + 1, MANY_AT_ONCE) if at_once else FEW_AT_ONCE

    def over(self) -> None:
        """One is no longer being opened."""
        self.opening -= 1
        while self.opening < self.at_once and self.hand_on(None):
            self.opening += 1

    def _pass_on(self, kept: UpstreamConnection | None) -> None:
        if kept is None:
            self.over()
        elif not self.hand_on(kept):
            kept.idle_since = monotonic()
            self.idle.append(kept)


class Pool:
    """Keeps only connections whose last exchange ended cleanly, a bounded number for each origin.

    Opens a bounded number at once. Who waits for a turn meanwhile takes one that comes back, if that is sooner.
    """

    __slots__ = ("_connect_timeout", "_idle_timeout", "_origins", "_per_origin", "_tls")

    def __init__(
        self, *, per_origin: int, idle_timeout: float, connect_timeout: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._connect_timeout = connect_timeout
        self._per_origin = per_origin
        self._idle_timeout = idle_timeout
        self._tls = tls
        self._origins: dict[Origin, _Origin] = {}

    def take(self, origin: Origin) -> UpstreamConnection | None:
        """The connection that was used last and is still good, if there is one."""
        known = self._origins.get(origin)
        if known is None:
            return None
        idle = known.idle
        while idle:
            connection = idle.pop()
            if connection.ended or connection.transport.is_closing():
                continue
            age = monotonic() - connection.idle_since
            if age < TRUSTED_FOR or (age < self._idle_timeout and not connection.has_news()):
                return connection
            connection.abort()
        return None

    def give(self, origin: Origin, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange is over, or hang up if it can't be trusted."""
        known = self._of(origin)
        if not connection.is_reusable():
            connection.abort()
        elif known.hand_on(connection):
            return
        elif len(known.idle) < self._per_origin:
            connection.idle_since = monotonic()
            known.idle.append(connection)
        else:
            connection.abort()

    async def connect(self, origin: Origin) -> UpstreamConnection:
        """A new connection, or one that came back meanwhile. Raises UpstreamUnreachable, QueueFull.

        Cancel it to give up.
        """
        known, began = self._of(origin), monotonic()
        try:
            async with asyncio.timeout(self._connect_timeout):
                kept = await known.turn()
        except TimeoutError as error:
            if known.opened_at < began:
                raise UpstreamUnreachable(_NOT_IN_TIME) from error
            raise QueueFull("Too many connections to the endpoint are being opened.", retry_after=1.0) from error
        return kept or await self._open_in_turn(origin, known)

    async def _open_in_turn(self, origin: Origin, known: _Origin) -> UpstreamConnection:
        began = monotonic()
        try:
            async with asyncio.timeout(self._connect_timeout):
                connection = await self._open(origin)
            known.opened(at_once=monotonic() - began < DROPPED_AFTER)
        except TimeoutError as error:
            known.at_once = FEW_AT_ONCE
            raise UpstreamUnreachable(_NOT_IN_TIME) from error
        except UpstreamUnreachable:
            known.at_once = FEW_AT_ONCE
            raise
        finally:
            known.over()
        return connection

    async def _open(self, origin: Origin) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(loop),
                origin.host,
                origin.port,
                ssl=self._context() if origin.tls else None,
            )
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", None) or error.reason or "handshake failed"
            raise UpstreamUnreachable(f"No secure connection to the endpoint: {reason}.") from error
        except (socket.gaierror, UnicodeError) as error:  # the latter for what can't even be asked for
            raise UpstreamUnreachable("The endpoint's host name is not known.") from error
        except TimeoutError:  # an OSError, too
            raise
        except OSError as error:
            if error.errno in _OUR_OWN_LACK:
                raise QueueFull("This server has no connection left to ask with; try again shortly.") from error
            raise UpstreamUnreachable("The endpoint does not accept connections.") from error
        return connection

    def sweep(self, now: float) -> bool:
        """Hang up on connections that have been idle too long. True while any are kept."""
        for origin, known in list(self._origins.items()):
            known.idle = [one for one in known.idle if not self._is_too_old(one, now)]
            if known.is_unused:
                del self._origins[origin]
        return bool(self._origins)

    def _is_too_old(self, connection: UpstreamConnection, now: float) -> bool:
        if not connection.ended and now - connection.idle_since < self._idle_timeout:
            return False
        connection.abort()
        return True

    def close(self) -> None:
        """Hang up on all idle connections."""
        for known in self._origins.values():
            for connection in known.idle:
                connection.abort()
            known.idle.clear()

    def _of(self, origin: Origin) -> _Origin:
        known = self._origins.get(origin)
        if known is None:
            known = self._origins[origin] = _Origin()
        return known

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
