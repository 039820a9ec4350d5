"""Keeps the ledger's facts and closes its hours: one task, which nothing waits for.

Every few seconds it notes for how long endpoints had requests in flight, and that this server still looks on; a killed
server loses no more than that. When the wall clock was set, it has put on record how long endpoints were awake by the
clock that nobody sets. Some seconds after the end of an hour it charges that hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.gate import Gate
from lamplighter.control.journal import Journal
from lamplighter.control.tariffs import Tariffs
from lamplighter.domain.calendar import HOUR
from lamplighter.domain.closing import Position
from lamplighter.domain.endpoint import Endpoint, Transition
from lamplighter.domain.timeline import micros
from lamplighter.errors import LamplighterError
from lamplighter.store.charging import Terms

T = TypeVar("T")

log = structlog.get_logger("lamplighter.control")

EVERY = 5.0
"""How often busy time is written down (seconds)."""

GRACE = 15.0
"""So long after its end an hour is charged: what it used is on record by then (seconds)."""

WATCH_EVERY = 15.0
"""How often it is written down, while anything is awake, that this server looks on (seconds)."""

_JUMP = 2.0  # seconds by which the wall clock may drift from the other one between two turns
_AT_ONCE = 100  # endpoints whose hours are closed in one transaction
_ROWS = 500
_MOST_PENDING = 100_000


class WatchedFleet(Protocol):
    """What the ledger needs of the fleet."""

    def endpoints(self) -> Sequence[Endpoint]: ...

    def gates(self) -> Mapping[str, Gate]: ...

    def unseen(self) -> frozenset[str]: ...

    @property
    def is_any_awake(self) -> bool: ...

    async def note_clock(self) -> None: ...


class LedgerStore(Protocol):
    """Where facts and sums are kept: `Store` is one. Every method raises StoreError."""

    async def save_watched(self, at: float) -> None: ...

    async def save_activity(self, rows: Sequence[tuple[str, int, float]]) -> None: ...

    async def load_activity(self, since: int) -> dict[tuple[str, int], float]: ...

    async def watched_until(self) -> float | None: ...

    async def ledger_names(self) -> list[str]: ...

    async def close_hours(self, names: Sequence[str], until: int, terms: Terms) -> None: ...

    async def note_counted(self) -> None: ...

    async def open_positions(self, now: int, terms: Terms) -> dict[str, Position]: ...


class Bookkeeper:
    """Owns the task, which has a turn every so many seconds."""

    def __init__(
        self,
        fleet: WatchedFleet,
        store: LedgerStore,
        journal: Journal,
        clock: Clock,
        tariffs: Tariffs,
        *,
        every: float = EVERY,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._journal = journal
        self._clock = clock
        self._tariffs = tariffs
        self._every = every
        self._calendar = tariffs.calendar
        self._samples: dict[str, tuple[Gate, float]] = {}
        self._sampled_at = 0
        self._busy: dict[tuple[str, int], float] = {}  # in hours that may still grow, or are not written yet
        self._unwritten: set[tuple[str, int]] = set()
        self._ahead = 0.0  # of the wall clock, before the other one
        self._watched_at = 0.0
        self._closed = 0
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier run left, once the fleet is open. Raises StoreError."""
        now = self._clock.wall()
        self._sampled_at, self._ahead = int(now), now - self._clock.now()
        self._busy = await self._store.load_activity(self._calendar.hour_of(int(now)))
        await self._part_from_the_gone(now)
        self._task = asyncio.create_task(self._run(), name="bookkeeper")

    async def close(self, timeout: float = 5.0) -> None:
        """Write down what is known, for at most `timeout` seconds."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._sample()
        try:
            async with asyncio.timeout(timeout):
                await self._write()
                await self._watch()
        except (LamplighterError, TimeoutError) as error:
            log.warning("busy time not written", error=str(error) or "it took too long", hours=len(self._unwritten))

    async def positions(self) -> dict[str, Position]:
        """How each endpoint stands, with the cost of its awake period so far. Raises StoreError."""
        terms = self._tariffs.terms(await self._store.ledger_names())
        return await self._store.open_positions(micros(self._clock.wall()), terms)

    async def _part_from_the_gone(self, now: float) -> None:
        """What was there when an earlier run ended, and is looked after no more, is billed no longer."""
        here = {endpoint.spec.name for endpoint in self._fleet.endpoints()}
        watched = await self._store.watched_until()
        for name, position in (await self.positions()).items():
            standing = position.carried.standing
            if name not in here and standing.state is not None:
                parting = Transition(
                    endpoint=name,
                    at=now,
                    before=None,
                    after=None,
                    reason="removed",
                    actor="server",
                    provider=standing.provider,
                    replicas=standing.replicas,
                    seen_until=watched,
                )
                await self._journal.transition(parting)

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except LamplighterError as error:
                self._failed(error.message)
            except Exception:
                log.exception("bookkeeping broke")  # the next turn may work: this task has to live
            else:
                self._failing = False
            await asyncio.sleep(self._pause())

    def _failed(self, error: str) -> None:
        if not self._failing:
            log.warning("the ledger is not written; it is tried again", error=error)
        self._failing = True

    def _pause(self) -> float:
        """Until the next turn: one is at the end of each hour, so that each gets what is its own."""
        now = self._clock.wall()
        return max(0.01, min(self._every, self._calendar.next_hour(int(now)) - now))

    async def _turn(self) -> None:
        await self._look_at_the_clock()
        self._sample()
        await self._write()
        if self._clock.now() - self._watched_at >= WATCH_EVERY:
            await self._watch()
            self._watched_at = self._clock.now()
        until = self._calendar.hour_of(int(self._clock.wall() - GRACE))
        if until > self._closed:
            await self._close_hours(until)
            self._closed = until

    async def _look_at_the_clock(self) -> None:
        ahead = self._clock.wall() - self._clock.now()
        if abs(ahead - self._ahead) > _JUMP:
            log.warning("the wall clock was set", seconds=round(ahead - self._ahead, 3))
            await self._fleet.note_clock()
            self._closed = min(self._closed, self._calendar.hour_of(int(self._clock.wall())))
        self._ahead = ahead

    # Busy time.

    def _sample(self) -> None:
        """Add what gates were busy since the last time to the hour that was then."""
        hour = self._calendar.hour_of(self._sampled_at)
        self._sampled_at = int(self._clock.wall())
        samples: dict[str, tuple[Gate, float]] = {}
        for name, gate in self._fleet.gates().items():
            known, before = self._samples.get(name, (gate, 0.0))
            busy = gate.busy
            samples[name] = (gate, busy)
            more = busy - (before if known is gate else 0.0)
            if more > 0:
                self._add((name, hour), more)
        self._samples = samples

    def _add(self, key: tuple[str, int], seconds: float) -> None:
        if key not in self._busy and len(self._busy) >= _MOST_PENDING:
            oldest = next(iter(self._busy))
            del self._busy[oldest]
            self._unwritten.discard(oldest)
        self._busy[key] = min(float(HOUR), self._busy.get(key, 0.0) + seconds)
        self._unwritten.add(key)

    async def _write(self) -> None:
        """Write hours' sums in place of what was written before: said twice it does no harm."""
        for keys in _batches(sorted(self._unwritten), _ROWS):
            rows = [(name, hour, self._busy[name, hour]) for name, hour in keys]
            await self._store.save_activity(rows)
            self._unwritten.difference_update(
                (name, hour) for name, hour, busy in rows if self._busy.get((name, hour)) == busy
            )
        present = self._calendar.hour_of(self._sampled_at)
        for key in [key for key in self._busy if key[1] < present and key not in self._unwritten]:
            del self._busy[key]

    async def _watch(self) -> None:
        """Write down that this server looks on, where that matters."""
        if self._fleet.is_any_awake:
            await self._store.save_watched(self._clock.wall())

    # Hours.

    async def _close_hours(self, until: int) -> None:
        unseen = self._fleet.unseen()
        names = [name for name in await self._store.ledger_names() if name not in unseen]
        for some in _batches(names, _AT_ONCE):
            await self._store.close_hours(some, until, self._tariffs.terms(some))
            await asyncio.sleep(0)
        await self._store.note_counted()
        log.debug("hours closed", until=until, endpoints=len(names))


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))
