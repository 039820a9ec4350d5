"""Short cuts past ASGI where uvicorn is the server. With any other server each of them says that it can't.

They do what uvicorn's own `receive` and `send` do, less what a gateway doesn't need, for a third of the time: the body
without waiting for it, a whole response in one write. `send` and `receive` are methods of uvicorn's cycle, which is how
they find it.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeGuard

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from lamplighter.gateway.asgi import Headers, Receive, Send
from lamplighter.gateway.open_ended import OpenEndedCycle

_RESET = struct.pack("ii", 1, 0)  # linger, for no time


def take_body(receive: Receive) -> bytes | None:
    """The request's body if all of it is here, else None: then `receive` tells. `receive` is what uvicorn gave."""
    cycle = getattr(receive, "__self__", None)
    if type(cycle) is not RequestResponseCycle or cycle.more_body or cycle.disconnected:
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
    if type(cycle) is not RequestResponseCycle or not cycle.keep_alive or cycle.flow.write_paused:
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


def can_write_chunk(cycle: RequestResponseCycle | None) -> TypeGuard[RequestResponseCycle]:
    """Whether the next piece of a body without a known length can be written now; else it has to be sent.

    `cycle` is what `cycle_of` found.
    """
    return (
        cycle is not None and not cycle.flow.write_paused and not cycle.disconnected and cycle.chunked_encoding is True
    )


def write_chunk(cycle: RequestResponseCycle, piece: bytes) -> None:
    """Write a piece of a body without a known length, in the middle of it, where `can_write_chunk`. Never waits."""
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))


def abort(send: Send) -> bool:
    """Hang up on the client at once, dropping what it has not been sent; False if that can't be done here."""
    cycle = cycle_of(send)
    if cycle is None:
        return False
    if isinstance(cycle, OpenEndedCycle):  # an orderly end of the connection would pass for the end of the answer
        cycle.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    cycle.transport.abort()
    return True


def client_is_slow(send: Send) -> bool:
    """Whether the client is behind in reading: more waits for it than its connection takes, so that `send` would wait.

    False where that can't be told.
    """
    cycle = cycle_of(send)
    return cycle is not None and bool(cycle.flow.write_paused)


def cycle_of(send: Send) -> RequestResponseCycle | None:
    """The cycle behind what uvicorn gave to send with, which others may have wrapped and keep as `inner`."""
    while hasattr(send, "inner"):
        send = send.inner
    cycle = getattr(send, "__self__", None)
    return cycle if isinstance(cycle, RequestResponseCycle) else None
