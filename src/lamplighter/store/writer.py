"""Takes usage records off the hot path and writes them in batches."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import structlog

from lamplighter.domain.usage import UsageRecord
from lamplighter.errors import LamplighterError

_log = structlog.get_logger(__name__)


class UsageTable(Protocol):
    """Where the rows go: `Store` is one."""

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        """Write all or none. Raises LamplighterError when trying again later may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often and how much. Seconds and rows.

    A row is written at the latest `interval` after it came, or as soon as `batch` rows are there. At most `bound`
    rows wait; what comes then is dropped and counted. The n-th failure in a row is followed by a random pause of at
    most `backoff_base · 2^n` and never more than `backoff_cap`.
    """

    interval: float = 1.0
    batch: int = 500
    bound: int = 50_000
    backoff_base: float = 0.5
    backoff_cap: float = 30.0

    def pause(self, failures: int) -> float:
        """Full jitter: several servers that lost one database do not come back in step."""
        ceiling = min(self.backoff_cap, self.backoff_base * 2 ** min(failures, 30))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - not a secret


class UsageWriter:
    """A bounded queue in memory and one task that empties it. Belongs to one event loop.

    Rows are lost in two cases, both counted in `dropped`: the database failed for so long that the queue filled up,
    and `close` ran out of time.
    """

    def __init__(self, table: UsageTable, pace: Pace | None = None) -> None:
        self._table = table
        self._pace = pace or Pace()
        self._queue: deque[UsageRecord] = deque()
        self._open: dict[Hashable, UsageRecord] = {}
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._task: asyncio.Task[None] | None = None
        self._burst = 0
        self.dropped = 0
        """Rows lost since the start."""

    def start(self) -> None:
        """Begin to write; once, on the event loop."""
        self._task = asyncio.create_task(self._work(), name="usage-writer")

    def add(self, record: UsageRecord) -> None:
        """Queue a record, or add it to a like one that waits; never blocks, never raises.

        So a busy second is a few rows, not thousands: neither the disk nor the history grows with the rate.
        """
        likeness = record.likeness()
        like = self._open.get(likeness)
        if like is not None:
            like.absorb(record)
            return
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._pace.bound or self._closing.is_set():
            self._drop(1)
            return
        queue.append(record)
        self._open[likeness] = record
        if not waiting:
            self._some.set()
            self._empty.clear()
        if waiting + 1 == self._pace.batch:
            self._full.set()

    @property
    def waiting(self) -> int:
        """Rows that are not known to be written."""
        return len(self._queue)

    async def settled(self, timeout: float = 1.0) -> None:
        """Write what is queued now, and return when that is done, or after `timeout` seconds: for whoever reads it."""
        if self._queue:
            self._full.set()
            await _wait(self._empty, timeout)

    async def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, for at most `timeout` seconds; drop, count and log what is left then."""
        for event in (self._closing, self._some, self._full):
            event.set()
        if self._task:
            await asyncio.wait([self._task], timeout=timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._queue:
            self._drop(len(self._queue))
            self._queue.clear()
            self._open.clear()
        self._end_burst()

    async def _work(self) -> None:
        while self._queue or not self._closing.is_set():
            await self._some.wait()
            await _wait(self._full, self._pace.interval)
            self._open.clear()  # what is being written in another thread must not change
            await self._write(list(islice(self._queue, self._pace.batch)))
            self._rearm()

    def _rearm(self) -> None:
        # No await between looking at the queue and clearing: `add` can't slip in and be missed.
        if self._closing.is_set():
            return
        if not self._queue:
            self._some.clear()
            self._empty.set()
        if len(self._queue) < self._pace.batch:
            self._full.clear()

    async def _write(self, rows: Sequence[UsageRecord]) -> None:
        """Write until it is done; the rows keep their place in the queue, and so in its bound, until then."""
        failures = 0
        while rows:
            try:
                await self._table.add_usage(rows)
                break
            except LamplighterError as error:
                if not failures:
                    _log.warning("usage_not_written", rows=len(self._queue), error=error.message)
                failures += 1
                await self._pause(self._pace.pause(failures))
            except Exception:  # noqa: BLE001 - logged and counted
                # A fault of this program's own would come back with the same rows for ever, and stop all others.
                _log.exception("usage_unwritable", rows=len(rows))
                self._drop(len(rows))
                break
        for _ in rows:
            self._queue.popleft()
        self._end_burst()

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt; `close` cuts it short once, and must not make the retries spin after that."""
        if self._closing.is_set():
            await asyncio.sleep(seconds)
        else:
            await _wait(self._closing, seconds)

    def _drop(self, rows: int) -> None:
        if not self._burst:
            _log.warning("usage_dropping", waiting=len(self._queue), bound=self._pace.bound)
        self._burst += rows
        self.dropped += rows

    def _end_burst(self) -> None:
        if self._burst:
            _log.warning("usage_dropped", rows=self._burst, since_start=self.dropped)
            self._burst = 0


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
