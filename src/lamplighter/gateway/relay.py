"""Sending one request to an endpoint, on a kept connection or a new one."""

from __future__ import annotations

from collections.abc import Callable

from lamplighter.domain.retrying import IDEMPOTENT
from lamplighter.errors import UpstreamBroken
from lamplighter.gateway.address import Address
from lamplighter.gateway.pool import Pool
from lamplighter.gateway.request import Request
from lamplighter.gateway.upstream import UpstreamConnection

_ALWAYS_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_PIECE = 256 * 1024
# Up to this size head and body go out as one piece: copying is cheaper than a second system call.
JOINED = 16 * 1024


def render_head(request: Request, address: Address, path: bytes, length: int, more: bytes = b"") -> bytes:
    """The request's head as the endpoint gets it; `more` are further lines of our own."""
    lines = request.lines if not address.owned else request.lines_without(address.owned)
    method = request.method
    fixed = (method.encode("ascii"), address.base, path, address.lines + more, request.id, b"".join(lines))
    if length or method in _ALWAYS_WITH_LENGTH:
        return b"%b %b%b HTTP/1.1\r\n%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n" % (*fixed, length)
    return b"%b %b%b HTTP/1.1\r\n%bx-request-id: %b\r\n%b\r\n" % fixed


async def ask(
    pool: Pool, address: Address, head: bytes, body: bytes, *, method: str, connected: Callable[[], None]
) -> UpstreamConnection:
    """Send a request and wait for the answer's head, on a kept connection or a new one.

    `connected` is called when there is one. Raises UpstreamUnreachable and UpstreamBroken. Cancelling it hangs up.
    """
    connection = pool.take(address.origin)
    if connection is not None:
        connected()
        try:
            return await _ask_on(connection, head, body, head_only=method == "HEAD")
        except UpstreamBroken:
            if not may_ask_again(connection, method):
                raise
    return await ask_anew(pool, address, head, body, method=method, connected=connected)


async def ask_anew(
    pool: Pool, address: Address, head: bytes, body: bytes, *, method: str, connected: Callable[[], None]
) -> UpstreamConnection:
    """Like `ask`, on a connection that is opened now, or comes back just now."""
    connection = await pool.connect(address.origin)
    connected()
    return await _ask_on(connection, head, body, head_only=method == "HEAD")


def may_ask_again(connection: UpstreamConnection, method: str) -> bool:
    """Whether a request that failed on a kept connection can be sent again, on a new one, without doing harm.

    The endpoint may have closed the connection for idleness at the moment when we wrote: then it ends without a byte.
    An idempotent request is repeated, and any that the endpoint can't have got whole. A POST that was written whole may
    have been executed (RFC 9110 section 9.2.2), so it isn't. That is rare: `Pool.take` looks for the goodbye first, and
    the pool hangs up before servers do.
    """
    return not connection.received and (method in IDEMPOTENT or not connection.uploaded)


async def _ask_on(connection: UpstreamConnection, head: bytes, body: bytes, *, head_only: bool) -> UpstreamConnection:
    try:
        if len(body) <= JOINED:
            await connection.ask(head + body, head_only=head_only)
        else:
            connection.begin(head_only=head_only)
            await _upload(connection, head, body)
        await connection.head()
    except BaseException:
        connection.abort()
        raise
    return connection


async def _upload(connection: UpstreamConnection, head: bytes, body: bytes) -> None:
    connection.transport.write(head)
    view = memoryview(body)
    for start in range(0, len(body), _PIECE):
        await connection.writable()
        if connection.head_done or connection.ended:
            return
        connection.transport.write(view[start : start + _PIECE])
    connection.uploaded = True
