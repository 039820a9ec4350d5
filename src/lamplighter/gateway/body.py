"""Reading a request's body within bounds."""

from __future__ import annotations

from collections.abc import Callable

from lamplighter.errors import QueueFull
from lamplighter.gateway.asgi import Receive
from lamplighter.gateway.refusals import BodyTooLarge, ClientGone


class HeldBytes:
    """All the memory that waiting requests may take together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Raises QueueFull when the bound would be passed."""
        if self.used + size > self.limit:
            raise QueueFull("Too many bytes are held for waiting requests; try again shortly.", retry_after=1.0)
        self.used += size

    def give_back(self, size: int) -> None:
        """Undo `take`."""
        self.used -= size


async def read_body(receive: Receive, limit: int, charge: Callable[[int], None]) -> bytes:
    """Read the whole body, which mostly has arrived with the head.

    `charge` is told the size of each piece of a body that arrives in several. Raises BodyTooLarge and ClientGone, and
    what `charge` raises.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        return await _read_rest(body, receive, limit, charge)
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


async def _read_rest(first: bytes, receive: Receive, limit: int, charge: Callable[[int], None]) -> bytes:
    pieces = [first]
    size = len(first)
    charge(size)
    more = True
    while more:
        if size > limit:
            raise BodyTooLarge(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        pieces.append(piece)
        size += len(piece)
        charge(len(piece))
    if size > limit:
        raise BodyTooLarge(limit)
    return b"".join(pieces)
