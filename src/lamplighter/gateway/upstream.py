"""One connection to an endpoint, and the answer that is being read from it."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import cast

import httptools

from lamplighter.errors import UpstreamBroken
from lamplighter.gateway.asgi import Headers
from lamplighter.gateway.headers import NOT_SENT_BACK, ORDINARY_CONNECTION, named_by_connection, without

# A stream's client may be slow: past this much unread answer we stop reading from the endpoint.
HIGH_WATER = 256 * 1024
# Heads, trailers and chunk extensions pile up in the parser before we see them, so what is not body is bounded.
MAX_OVERHEAD = 128 * 1024
MOST_DIGITS = 20

# Names of headers as endpoints spell them, to their lower case: the ones that need no second look.
_PASSED: dict[bytes, bytes] = {}
_MAX_PASSED = 1024


class UpstreamConnection(asyncio.Protocol):
    """Reads one answer after another.

    Its owner calls `ask` (or `begin`, and writes to `transport`) and awaits `head`, then calls `take` and `more` until
    `complete`.
    Interim answers (1xx) are passed over, trailers are dropped. `headers` are those that may go to the client;
    `length` is the Content-Length where one was given and holds for this answer.
    """

    # Defaults stand on the class, so that a new exchange sets only what the last one has changed.
    transport: asyncio.Transport = cast("asyncio.Transport", None)
    ended = False
    idle_since = 0.0
    _waiter: asyncio.Future[None] | None = None
    _write_paused = False
    _paused = False
    _poll: select.poll | None = None
    _problem: str | None = None
    _named: frozenset[bytes] = frozenset()
    headers: Headers = []  # noqa: RUF012 - replaced as a whole, never changed here
    sink: Callable[[], bool] | None = None
    """Called while the owner waits for `news`, and there is more to take: True if it was taken, and he may sleep on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self.begin(head_only=False)
        self.complete = True  # nothing has been asked yet: whatever comes now is not an answer

    def begin(self, *, head_only: bool) -> None:
        """Get ready for the next answer; `head_only` when the request is a HEAD."""
        self.status = 0
        self._collected: Headers = []
        self.head_done = False
        self.complete = False
        self.keep_alive = False
        self.uploaded = False
        self.received = 0
        self._head_only = head_only
        self._framed = False
        self.length: bytes | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._overhead = 0

    # What the owner of the connection calls

    def ask(self, request: bytes, *, head_only: bool) -> asyncio.Future[None]:
        """Send a whole request. The future is done when there is something to look at: `head_done`, or `ended`."""
        self.begin(head_only=head_only)
        self.uploaded = True
        self._waiter = waiter = self.loop.create_future()
        self.transport.write(request)
        return waiter

    async def writable(self) -> None:
        """Wait while the endpoint reads slowly. Returns early when it answers before it has read everything."""
        while self._write_paused and not self.head_done and not self.ended:
            self._waiter = waiter = self.loop.create_future()
            await waiter

    async def head(self) -> None:
        """Wait for `status` and `headers`. Raises UpstreamBroken when no answer comes that can be read."""
        while not self.head_done:
            if self.ended:
                raise UpstreamBroken(self._problem or "The endpoint closed the connection without an answer.")
            self._waiter = waiter = self.loop.create_future()
            await waiter

    @property
    def has_more(self) -> bool:
        """Whether there is more of the body to take, or its end has come."""
        return bool(self._chunks) or self.complete

    def news(self) -> asyncio.Future[None]:
        """Something to wait for while there is no more. Raises UpstreamBroken when the answer was cut off."""
        if self.ended:
            raise UpstreamBroken(self._problem or "The endpoint closed the connection in the middle of its answer.")
        self._waiter = waiter = self.loop.create_future()
        return waiter

    async def more(self) -> None:
        """Wait for more of the body or its end. Raises UpstreamBroken when it was cut off."""
        while not self.has_more:
            await self.news()

    def take(self) -> bytes:
        """What has come of the body since the last call; makes room for more."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks = []
        self._buffered = 0
        if self._paused:
            self._paused = False
            if not self.ended and not self.transport.is_closing():
                self.transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def whole(self) -> bytes:
        """The body of a complete answer, if nothing was taken of it yet."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    async def whole_within(self, limit: int) -> bytes:
        """Wait for the whole body, or until it is longer than `limit` bytes or cut off; takes nothing of it."""
        while not self.complete and not self.ended and self._buffered <= limit:
            self._waiter = waiter = self.loop.create_future()
            await waiter
        return self.whole()

    def _is_stream(self) -> bool:
        return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in self.headers)

    def is_reusable(self) -> bool:
        """Whether the exchange ended so that another one can follow.

        A parser can't be told that the answer to a HEAD has no body, so such a connection isn't used again. Nor is one
        that carried a stream: llama.cpp's server says that it keeps it, and closes it some 80 ms later.
        """
        return (
            self.complete
            and (self.length is not None or not self._is_stream())
            and self.keep_alive
            and self.uploaded
            and not self.ended
            and not self._head_only
            and not self._paused
            and not self._write_paused
            and not self.transport.is_closing()
        )

    def has_news(self) -> bool:
        """Whether an idle connection's socket holds anything: a goodbye, most likely."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def abort(self) -> None:
        """Hang up now; the endpoint should stop working on what nobody waits for."""
        self.transport.abort()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _break(self, problem: str) -> None:
        self._problem = problem
        self.ended = True
        self.transport.abort()
        self._wake()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += 1
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return self._not_understood(error)
        if self._overhead > MAX_OVERHEAD:
            return self._break("The endpoint's answer has headers without end.")
        if self._buffered > HIGH_WATER and not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()
        waiter = self._waiter
        if waiter is not None and (self._chunks or self.head_done):
            sink = self.sink
            if sink is not None and self._chunks and not self.complete and not waiter.done() and sink():
                return None
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        return None

    def _not_understood(self, error: Exception) -> None:
        if self.complete:  # more than was asked for: the answer is whole, but the connection is not to be trusted
            self.keep_alive = False
            self.transport.abort()
            self._wake()
        else:
            cause = error.__context__ if isinstance(error.__context__, UpstreamBroken) else error
            self._break(f"The endpoint's answer is not HTTP that can be passed on: {cause}.")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.head_done and not self.complete and not self._framed and exc is None and not self.ended:
            self.complete = True  # a body without a length lasts until the connection is closed
        self.ended = True
        self.sink = None
        del self._parser  # which refers to this, so that only the garbage collector would find them
        self._wake()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake()

    # What the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            raise UpstreamBroken("bytes after its end")

    def on_header(self, name: bytes, value: bytes) -> None:
        passed = _PASSED.get(name)
        if passed is not None:
            self._collected.append((passed, value))
        else:
            self._on_unusual_header(name, name.lower(), value)

    def _on_unusual_header(self, name: bytes, lower: bytes, value: bytes) -> None:
        if lower == b"content-length":
            if len(value) > MOST_DIGITS:
                raise UpstreamBroken("a length with too many digits")  # it could not be read again further on
            self._framed = True
            self.length = value
            return
        if lower == b"connection":
            if value.lower() not in ORDINARY_CONNECTION:
                self._named |= named_by_connection(value)
            return
        if lower == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise UpstreamBroken("a transfer encoding other than chunked")
            self._framed = True
            return
        if lower in NOT_SENT_BACK:
            return
        if len(_PASSED) < _MAX_PASSED:
            _PASSED[name] = lower
        self._collected.append((lower, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._pass_over(status)
            return
        if status > 599:
            raise UpstreamBroken("a status that HTTP does not know")
        self.status = status
        self.head_done = True
        self.keep_alive = self._parser.should_keep_alive()
        self.headers = self._collected
        self._collected = []  # what comes now are trailers
        if self._named:
            self.headers = without(self.headers, self._named)
            self._named = frozenset()
        if status in {204, 304}:
            self.length = None  # it speaks of another answer, and a server that sees it would wait for a body
        if self._head_only:
            self.complete = True

    def _pass_over(self, status: int) -> None:
        """Forget an interim answer. Raises UpstreamBroken for one that is none."""
        if status == 101:
            raise UpstreamBroken("a change of protocol that was not asked for")
        if status < 100:
            raise UpstreamBroken("a status that HTTP does not know")
        if self._framed and self.length != b"0":
            raise UpstreamBroken("an interim answer that has a body")  # its body would become part of the next one's
        self._collected = []
        self._named = frozenset()
        self._framed = False
        self.length = None

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        if not self._head_only:
            self._chunks.append(data)
            self._buffered += len(data)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True
