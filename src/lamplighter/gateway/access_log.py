"""The access log: a line of JSON for each request, written off the hot path in batches.

`note` costs a request little more than a record in memory; a thread makes lines of them. Nothing of a request's headers
or body is in it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from time import gmtime, strftime
from typing import Protocol

import msgspec
import structlog

from lamplighter.control.sources import Sources, forwarded_for
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.routing import Route
from lamplighter.domain.usage import Outcome
from lamplighter.errors import InvalidInput
from lamplighter.gateway.request import Request

log = structlog.get_logger("lamplighter.gateway")

BUSY = 1000
"""Lines a second above which only every k-th success is written."""

BOUND = 20_000
"""Lines that may wait to be written; what comes then is dropped, and counted."""

EVERY = 0.25
"""How long a line waits at most before it is written, if the disk keeps up (seconds)."""

_CLOSE_TIMEOUT = 5.0
_NOBODY = Sources()


class Finished(Protocol):
    """What is told of a request that has ended: an exchange."""

    key: ApiKey
    way: Route
    endpoint: str
    route: str
    status: int
    outcome: Outcome
    error: str
    waited: float
    first_byte_at: float | None
    started: float
    bytes_in: int
    bytes_out: int
    tokens_in: int
    tokens_out: int
    attempts: int

    @property
    def request(self) -> Request:
        """Its head."""


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """As it is written. `waited`, `first_byte` and `duration` are seconds, the last two since the request came.

    `client` is an address, until it is written also that of a peer with what it says whom it forwards for.
    """

    time: float | str
    request_id: bytes | str
    key: str
    method: str
    route: str
    model: str
    target: str
    status: int
    outcome: Outcome
    waited: float
    first_byte: float | None
    duration: float
    bytes_in: int
    bytes_out: int
    tokens_in: int
    tokens_out: int
    attempts: int
    client: str | tuple[str, bytes] | None
    error: str = ""
    sampled: int = 1


class AccessLog:
    """Belongs to one event loop. `path` None: standard error. `sources` knows which proxies are believed."""

    def __init__(
        self,
        path: Path | None,
        *,
        sources: Sources | None = None,
        busy: int = BUSY,
        bound: int = BOUND,
        every: float = EVERY,
    ) -> None:
        """Open the log. Raises InvalidInput when the file can't be written to."""
        self._path = path
        self._sources = sources if sources is not None and sources.believes else None
        self._file: int | None = None
        self._busy = busy
        self._bound = bound
        self._every = every
        self._lines: list[Line] = []
        self._some = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reopen = False
        self._failing = False
        self._window = 0.0
        self._seen = self._kept = 0
        self._nth = 1
        self.dropped = 0
        """Lines lost since the start: too many waited, or they could not be written."""
        try:
            self._open()
        except OSError as error:
            text = f"server.access_log: {path} can't be written to: {error.strerror}."
            raise InvalidInput(text, field="server.access_log") from error

    @property
    def waiting(self) -> int:
        """Lines that wait to be written."""
        return len(self._lines)

    def start(self) -> None:
        """Begin to write; once, on the event loop."""
        self._task = asyncio.create_task(self._work(), name="access-log")

    def reopen(self) -> None:
        """Go on in a new file of the same name: the old one was moved away."""
        self._reopen = True

    def note(self, x: Finished) -> None:
        """Take down a request that has ended; never blocks, never raises."""
        now = time.monotonic()
        sampled = 1
        if x.outcome is Outcome.SERVED and x.status < 400:
            sampled = self._sample(now)
            if not sampled:
                return
        lines = self._lines
        if len(lines) >= self._bound:
            self.dropped += 1
            return
        request, first, way = x.request, x.first_byte_at, getattr(x, "way", None)  # no way: it was refused at the door
        client = request.scope.get("client")
        peer = client[0] if client else None
        if self._sources is not None and peer is not None:
            forwarded = forwarded_for(request.scope["headers"])
            peer = (peer, forwarded) if forwarded else peer  # who is believed is found out in the thread
        lines.append(
            Line(
                time.time(),
                request.id,
                x.key.id,
                request.method,
                x.route,
                way.name if way is not None else "",
                x.endpoint,
                x.status,
                x.outcome,
                x.waited,
                None if first is None else first - x.started,
                now - x.started,
                x.bytes_in,
                x.bytes_out,
                x.tokens_in,
                x.tokens_out,
                x.attempts,
                peer,
                x.error,
                sampled,
            )
        )
        if len(lines) == 1:
            self._some.set()

    def _sample(self, now: float) -> int:
        """Of how many successes this one stands for them all; 0 where another one does.

        As many as were too many in the last second are left out in this one; when that is not enough, still more.
        """
        if now - self._window >= 1.0:
            self._nth = max(1, ceil(self._seen / self._busy)) if now - self._window < 2.0 else 1
            self._window = now
            self._seen = self._kept = 0
        self._seen += 1
        if self._seen % self._nth:
            return 0
        self._kept += 1
        if self._kept > self._busy:
            self._nth *= 2
            self._kept = self._busy // 2
        return self._nth

    async def close(self) -> None:
        """Write what waits, for a few seconds at most, and close the file."""
        self._closing.set()
        self._some.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_CLOSE_TIMEOUT)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def _work(self) -> None:
        while True:
            await self._some.wait()
            if not self._closing.is_set():
                await self._pause()
            self._some.clear()
            lines, self._lines = self._lines, []
            if lines:
                await asyncio.to_thread(self._write, lines)
            elif self._closing.is_set():
                break
            if self._closing.is_set():
                self._some.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._every):
                await self._closing.wait()
        except TimeoutError:
            pass

    # In a thread; one at a time.

    def _write(self, lines: Sequence[Line]) -> None:
        try:
            if self._reopen or (self._file is None and self._path is not None):
                self._reopen = False
                self._open()
            self._put(render(lines, self._sources or _NOBODY))
        except (OSError, ValueError) as error:
            self._lost(len(lines), error)
        else:
            self._failing = False

    def _open(self) -> None:
        if self._path is None:
            return
        old, self._file = self._file, None
        if old is not None:
            os.close(old)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _put(self, data: bytes) -> None:
        if self._file is None:
            sys.stderr.write(data.decode())
            sys.stderr.flush()
            return
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _lost(self, count: int, error: Exception) -> None:
        """A full disk stops no request; it is told once, until lines can be written again."""
        self.dropped += count
        if not self._failing:
            self._failing = True
            log.warning("access log not written", path=str(self._path or "stderr"), error=str(error))


def render(lines: Sequence[Line], sources: Sources = _NOBODY) -> bytes:
    """The lines as they are written."""
    parts, encode = [], msgspec.json.encode
    second, shown = -1, ""
    for line in lines:
        assert isinstance(line.time, float)
        assert isinstance(line.request_id, bytes)
        whole, rest = divmod(line.time, 1.0)
        if whole != second:
            second, shown = int(whole), strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole))
        line.time = f"{shown}.{int(rest * 1000):03d}Z"
        line.request_id = line.request_id.decode("latin-1")
        line.waited, line.duration = round(line.waited, 6), round(line.duration, 6)
        if isinstance(line.client, tuple):
            line.client = sources.source(*line.client)
        line.first_byte = None if line.first_byte is None else round(line.first_byte, 6)
        parts.append(encode(line))
    parts.append(b"")
    return b"\n".join(parts)
