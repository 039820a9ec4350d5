"""Accepting connections of clients."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

log = logging.getLogger(__name__)

AT_ONCE = 256
"""How many are accepted before requests have their turn again."""

_PAUSE = 1.0


class Accepting:
    """Makes connections of what comes to a listening socket, until it is closed. The socket stays open.

    uvloop's own server accepts one connection in each round of its loop (as libuv does it in uvloop 0.23). With a
    thousand callers a round takes 100 ms: new ones would come in at ten a second, and wait for seconds.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._connecting: set[asyncio.Task[object]] = set()
        self._resumption: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more."""
        if self._resumption is not None:
            self._resumption.cancel()
        self._loop.remove_reader(self._listener)

    async def settled(self) -> None:
        """Wait until each connection that was accepted has its protocol, and can be told of the end."""
        while self._connecting:
            await asyncio.wait(self._connecting)

    def _listen(self) -> None:
        self._resumption = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._fail(error)
                return
            self._connect(connection)

    def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(self._protocol, connection), name="accept a connection"
        )
        self._connecting.add(task)
        task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        self._connecting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a connection could not be used: %s", error)

    def _fail(self, error: OSError) -> None:
        """Pause: the system has no room for more, most likely, and connections that end make some."""
        log.error("no connection can be accepted: %s; the next try is in %g s", error.strerror, _PAUSE)
        self._loop.remove_reader(self._listener)
        self._resumption = self._loop.call_later(_PAUSE, self._listen)
