"""Clients that come when the server has as many connections as it takes."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

import msgspec

from lamplighter.gateway.refusals import TooManyConnections
from lamplighter.gateway.surface import openai_error

log = logging.getLogger(__name__)

# Hanging up at once would reset the connection if the client has already sent something, and the answer would be lost.
LINGER = 1.0
MAX_LINGERING = 512
_SAY_EVERY = 60.0

_BODY = msgspec.json.encode(openai_error(TooManyConnections()))
_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class TurnedAway:
    """Tells each client that is too many to come again, without reading what it wants.

    `count` is how many there were so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lingering: set[_Goodbye] = set()
        self._said = -_SAY_EVERY

    def __call__(self, transport: asyncio.Transport, bound: int) -> None:
        """Answer 503 and hang up. `bound` is the number of connections that are taken, for the log."""
        self.count += 1
        self._say(bound)
        transport.write(_ANSWER)
        if transport.is_closing():
            return  # the client has left already
        if len(self._lingering) < MAX_LINGERING and transport.can_write_eof():
            transport.set_protocol(_Goodbye(transport, self._lingering))
            transport.write_eof()
        else:
            transport.close()

    def _say(self, bound: int) -> None:
        now = monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            log.warning("connections are turned away: max_connections=%d are open, turned_away=%d", bound, self.count)


class _Goodbye(asyncio.Protocol):
    """Lets a client read what it was told, for a moment."""

    def __init__(self, transport: asyncio.Transport, lingering: set[_Goodbye]) -> None:
        self._lingering = lingering
        self._timer = asyncio.get_running_loop().call_later(LINGER, transport.abort)
        lingering.add(self)

    def data_received(self, data: bytes) -> None:
        """Nobody reads it."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - part of the protocol
        self._timer.cancel()
        self._lingering.discard(self)
