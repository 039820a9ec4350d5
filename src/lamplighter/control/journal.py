"""What controllers write down, and what they find again after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from lamplighter.control.clock import Clock
from lamplighter.domain.endpoint import Endpoint, Spec, Transition
from lamplighter.errors import StoreError
from lamplighter.store import AuditRecord, SavedEndpoint, Store

log = structlog.get_logger("lamplighter.control")

PATIENCE = 1.0
"""How long a change of state waits to be on record before it is acted on all the same (seconds)."""

_BOUND = 10_000
_LATE = 10.0
_RETRY_CAP = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is worth knowing of an endpoint after a restart. Moments in Unix time, `starts` in seconds, oldest first.

    `paused` is somebody's word that stands. `watched_until`: as long as an earlier run looked on.
    """

    last_activity: float | None = None
    wake_time: float | None = None
    sleep_time: float | None = None
    starts: Sequence[float] = ()
    paused: bool = False
    watched_until: float | None = None


def log_fields(record: AuditRecord) -> dict[str, object]:
    """An operation as a log line tells it; the line has its own time."""
    return {key: getattr(record, key) for key in ("operation", "endpoint", "actor", "success", "error")}


class Journal(Protocol):
    """A place to write to. Its methods return when the record is safe, or when waiting longer would do harm.

    They never raise: a database that is full or locked must not keep an endpoint from being put to sleep. What could
    not be written is kept and written later.
    """

    async def recall(self, endpoint: str) -> Memory:
        """What earlier runs left."""

    async def transition(self, transition: Transition) -> None: ...

    async def started(self, endpoint: str, at: float, duration: float) -> None:
        """A start that succeeded took `duration` seconds."""

    async def operation(self, record: AuditRecord) -> None: ...

    async def remember(self, endpoints: Sequence[Endpoint]) -> None:
        """Keep when these were used, woken and put to sleep, and which of them are paused."""

    async def forget(self, endpoint: str) -> None:
        """The endpoint was taken out; its history stays."""


class MemoryJournal:
    """A journal that forgets with the process."""

    def __init__(self) -> None:
        self.transitions: deque[Transition] = deque(maxlen=100_000)
        self.operations: deque[AuditRecord] = deque(maxlen=10_000)
        self.starts: dict[str, list[float]] = {}
        self.memories: dict[str, Memory] = {}

    async def recall(self, endpoint: str) -> Memory:
        memory = self.memories.get(endpoint, Memory())
        return Memory(
            last_activity=memory.last_activity,
            wake_time=memory.wake_time,
            sleep_time=memory.sleep_time,
            starts=tuple(self.starts.get(endpoint, ())),
            paused=memory.paused,
        )

    async def transition(self, transition: Transition) -> None:
        self.transitions.append(transition)

    async def started(self, endpoint: str, at: float, duration: float) -> None:  # noqa: ARG002 - kept by the store
        self.starts.setdefault(endpoint, []).append(duration)

    async def operation(self, record: AuditRecord) -> None:
        self.operations.append(record)

    async def remember(self, endpoints: Sequence[Endpoint]) -> None:
        for seen in endpoints:
            self.memories[seen.spec.name] = Memory(
                last_activity=seen.last_activity,
                wake_time=seen.wake_time,
                sleep_time=seen.sleep_time,
                paused=seen.paused,
            )

    async def forget(self, endpoint: str) -> None:
        self.memories.pop(endpoint, None)


@dataclass(slots=True)
class _Entry:
    write: Callable[[], Awaitable[None]]
    done: asyncio.Future[None]
    since: float


class StoreJournal:
    """Writes to the store, in order, from one task.

    A write that the database refuses stays first in the queue and is tried again with growing pauses, while at most
    10,000 others wait behind it; then the oldest are dropped, counted in `dropped` and logged. Once a change has waited
    in vain for as long as its patience lasts, those behind it are only queued, until the database works again.
    """

    def __init__(self, store: Store, clock: Clock, *, bound: int = _BOUND, patience: float = PATIENCE) -> None:
        self._store = store
        self._clock = clock
        self._bound = bound
        self._patience = patience
        self._queue: deque[_Entry] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._saved: dict[str, SavedEndpoint] = {}
        self._watched_until: float | None = None
        self._specs: dict[str, Spec] = {}  # those that `_saved` has the text of
        self.dropped = 0

    async def open(self) -> None:
        """Read what earlier runs left and begin to write. Raises StoreError."""
        self._saved = await self._store.load_endpoints()
        self._watched_until = await self._store.watched_until()
        self._task = asyncio.create_task(self._work(), name="journal")

    async def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, for at most `timeout` seconds."""
        if self._queue:
            await asyncio.wait([self._queue[-1].done], timeout=timeout)
        if self._queue:
            log.error("records lost", count=len(self._queue), reason="the database did not take them in time")
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """Records that are not known to be written."""
        return len(self._queue)

    def problems(self) -> list[str]:
        """What keeps the history from being whole."""
        found = [f"{self.dropped} records could not be written"] if self.dropped else []
        if self._queue and self._clock.now() - self._queue[0].since > _LATE:
            found.append(f"{len(self._queue)} records wait for the database")
        return found

    async def recall(self, endpoint: str) -> Memory:
        saved = self._saved.get(endpoint)
        try:
            starts = await self._store.recent_starts(endpoint)
        except StoreError as error:
            log.warning("start times not read", endpoint=endpoint, error=error.message)
            starts = []
        if saved is None:
            return Memory(starts=starts, watched_until=self._watched_until)
        return Memory(
            last_activity=saved.last_activity,
            wake_time=saved.wake_time,
            sleep_time=saved.sleep_time,
            starts=starts,
            paused=saved.paused,
            watched_until=self._watched_until,
        )

    async def transition(self, transition: Transition) -> None:
        await self._write(lambda: self._store.add_transition(transition))

    async def started(self, endpoint: str, at: float, duration: float) -> None:
        await self._write(lambda: self._store.add_start(endpoint, at, duration))

    async def operation(self, record: AuditRecord) -> None:
        await self._write(lambda: self._store.add_audit(record))

    async def remember(self, endpoints: Sequence[Endpoint]) -> None:
        """Write those that differ from what is saved."""
        at = self._clock.wall()
        news = [SavedEndpoint.of(endpoint, at=at) for endpoint in endpoints if self._is_news(endpoint)]
        if news:
            self._saved.update({saved.name: saved for saved in news})
            await self._write(lambda: self._store.save_endpoints(news))

    async def forget(self, endpoint: str) -> None:
        self._saved.pop(endpoint, None)
        self._specs.pop(endpoint, None)
        await self._write(lambda: self._store.forget_endpoint(endpoint))

    def _is_news(self, seen: Endpoint) -> bool:
        old = self._saved.get(seen.spec.name)
        if old is None or self._specs.get(seen.spec.name) is not seen.spec:
            self._specs[seen.spec.name] = seen.spec
            return True
        known = (old.state, old.last_activity, old.wake_time, old.sleep_time, old.paused)
        return known != (seen.state, seen.last_activity, seen.wake_time, seen.sleep_time, seen.paused)

    async def _write(self, write: Callable[[], Awaitable[None]]) -> None:
        if len(self._queue) >= self._bound:
            self._drop(self._queue.popleft())
        now = self._clock.now()
        entry = _Entry(write, asyncio.get_running_loop().create_future(), now)
        # One change waits for a database that fails. Those behind it would wait in vain, each of them: a wake is four.
        stuck = bool(self._queue) and now - self._queue[0].since >= self._patience
        self._queue.append(entry)
        self._some.set()
        if not stuck:
            await asyncio.wait([entry.done], timeout=self._patience)

    def _drop(self, entry: _Entry) -> None:
        self.dropped += 1
        if not entry.done.done():
            entry.done.set_result(None)
        if self.dropped == 1 or self.dropped % 1000 == 0:
            log.error("records dropped", count=self.dropped, reason="the database has failed for too long")

    async def _work(self) -> None:
        while True:
            self._some.clear()
            while self._queue:
                entry = self._queue[0]
                await self._write_once(entry)
                with contextlib.suppress(ValueError):  # it may have been dropped meanwhile
                    self._queue.remove(entry)
            await self._some.wait()

    async def _write_once(self, entry: _Entry) -> None:
        failures = 0
        while not entry.done.done():
            try:
                await entry.write()
            except StoreError as error:
                failures += 1
                pause = min(_RETRY_CAP, 0.1 * 2 ** min(failures, 16)) * random.uniform(0.5, 1)  # noqa: S311 - no secret
                log.warning(
                    "record not written", error=error.message, queued=len(self._queue), retry_in=round(pause, 2)
                )
                await asyncio.sleep(pause)
            except Exception:
                # A fault of this program's own would come back for ever, and stop every record behind it.
                log.exception("record can't be written")
                self._drop(entry)
            else:
                if not entry.done.done():  # it may have been dropped while it was written
                    entry.done.set_result(None)
