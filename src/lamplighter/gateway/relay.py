"""Sending one request to an endpoint, on a kept connection or a new one."""

from __future__ import annotations

from lamplighter.errors import UpstreamBroken
from lamplighter.gateway.pool import Pool
from lamplighter.gateway.request import Request
from lamplighter.gateway.target import Target
from lamplighter.gateway.upstream import UpstreamConnection

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_ALWAYS_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_PIECE = 256 * 1024
_JOINED = 16 * 1024


def render_head(request: Request, target: Target, path: bytes, length: int) -> bytes:
    """The request's head as the endpoint gets it."""
    lines = request.lines
    if target.owned:
        lines = request.lines_without(target.owned)
    if length or request.method in _ALWAYS_WITH_LENGTH:
        lines = [*lines, b"content-length: %d\r\n" % length]
    method = request.method.encode("ascii")
    start = b"%b %b%b HTTP/1.1\r\n%bx-request-id: %b\r\n" % (method, target.base, path, target.lines, request.id)
    return b"".join((start, *lines, b"\r\n"))


async def ask(pool: Pool, target: Target, head: bytes, body: bytes, *, method: str) -> UpstreamConnection:
    """Send a request and wait for the answer's head.

    A kept connection may have been closed by the endpoint at the moment when we wrote. If it ends without a byte, the
    request is sent again, once and on a new connection, when that can do no harm: the method is idempotent, or the
    endpoint can't have got the whole request. A POST that was written whole may have been executed (RFC 9110 section
    9.2.2), so it isn't. That is rare: `Pool.take` looks for the goodbye first, and the pool hangs up before servers do.

    Raises UpstreamUnreachable and UpstreamBroken. Cancelling it hangs up.
    """
    connection = pool.take(target.origin)
    if connection is not None:
        try:
            return await _ask_on(connection, head, body, head_only=method == "HEAD")
        except UpstreamBroken:
            if connection.received or (connection.uploaded and method not in IDEMPOTENT):
                raise
    connection = await pool.connect(target.origin)
    return await _ask_on(connection, head, body, head_only=method == "HEAD")


async def _ask_on(connection: UpstreamConnection, head: bytes, body: bytes, *, head_only: bool) -> UpstreamConnection:
    connection.begin(head_only=head_only)
    try:
        if len(body) <= _JOINED:
            connection.write(head + body)
            connection.uploaded = True
        else:
            await _upload(connection, head, body)
        await connection.head()
    except BaseException:
        connection.abort()
        raise
    return connection


async def _upload(connection: UpstreamConnection, head: bytes, body: bytes) -> None:
    connection.write(head)
    view = memoryview(body)
    for start in range(0, len(body), _PIECE):
        await connection.writable()
        if connection.head_done or connection.ended:
            return
        connection.write(view[start : start + _PIECE])
    connection.uploaded = True
