"""Keeps the board, and tells all open pages what changed: looked at once, written once, however many are open."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec
import structlog

from lamplighter.api.wire import EndpointStatus
from lamplighter.control.costs import CostQuery, CostReport, Dimension
from lamplighter.control.prices import Priced
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Endpoint
from lamplighter.errors import LamplighterError
from lamplighter.web.board import Board, Delta, Spending

log = structlog.get_logger("lamplighter.web")

LOOK_EVERY = 0.1
"""How often it is looked at the endpoints while a page is open (seconds)."""

_LOOK_SHARE = 0.04
"""At most this part of the time goes into looking: more endpoints are looked at less often."""

_LONGEST_PAUSE = 2.0
_ALL_EVERY = 2.0
"""How often all are looked at, changed or not: prices, breakers, and what time alone changes (seconds)."""

_ALL_SHARE = 0.02

_COUNT_EVERY = 1.0
"""How often it is told that requests came and went; what they do to an endpoint's state is told at once (seconds)."""

Stamp: TypeAlias = tuple[object, ...]
"""What `Fleet.stamps` gives: its first part changes with the state."""

_SPENDING_EVERY = 5.0
_SPENDING_SHARE = 0.02


class Watched(Protocol):
    """What is looked at: `Fleet` is one."""

    def stamps(self) -> Mapping[str, Stamp]: ...

    def endpoint(self, name: str) -> Endpoint: ...

    def is_billed(self, endpoint: Endpoint) -> bool: ...


class Prices(Protocol):
    """What endpoints cost by the hour: `PriceBook` is one."""

    def priced(self, endpoint: str) -> Priced | None: ...


class Reports(Protocol):
    """What endpoints have cost: `Costs` is one."""

    @property
    def calendar(self) -> Calendar: ...

    async def report(self, query: CostQuery) -> CostReport: ...


Tell = Callable[[Mapping[str, Any]], Awaitable[None]]


class Feed:
    """Looks while anybody follows, and calls `tell` with what changed. `breakers` tells that of each target."""

    def __init__(
        self,
        fleet: Watched,
        prices: Prices,
        costs: Reports,
        *,
        tell: Tell,
        followed: Callable[[], bool],
        breakers: Callable[[], Mapping[str, str]],
    ) -> None:
        self._fleet = fleet
        self._prices = prices
        self._costs = costs
        self._tell = tell
        self._followed = followed
        self._breakers = breakers
        self._board = Board(self._describe)
        self._wanted = asyncio.Event()
        self._priced: dict[str, Priced | None] = {}
        self._beside: dict[str, object] = {}
        self._stamps: dict[str, Stamp] = {}
        self._counted_at = 0.0
        self._all_at = 0.0
        self._all_took = 0.0
        self._spending: dict[str, Spending] = {}
        self._spending_error: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._adding: asyncio.Task[None] | None = None
        self.looking = 0.0
        """How much work the last look was (seconds of processor time)."""

    def start(self) -> None:
        """Begin; ends with `close`."""
        self._task = asyncio.create_task(self._run(), name="page feed")
        self._adding = asyncio.create_task(self._add_up(), name="page spending")

    async def close(self) -> None:
        """Stop looking."""
        for task in (self._task, self._adding):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def wake(self) -> int:
        """Somebody follows from now on; gives the number of the last change."""
        self._wanted.set()
        return self._board.number

    async def snapshot(self) -> bytes:
        """All of the board as JSON, as it is now: those who follow are told what changed as well."""
        await self._look(at_all=not self._board.rows)
        board = self._board
        return msgspec.json.encode(self._message(Delta(board.rows, [], board.spending)) | {"whole": True})

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            if not self._followed():
                self._wanted.clear()
                continue
            try:
                await self._look()
            except Exception:
                log.exception("a look for the page broke")  # the next one may work: this task has to live
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        took = 0.0 if self._all_took == self.looking else self.looking  # a look at all has its own share
        return min(_LONGEST_PAUSE, max(LOOK_EVERY, took / _LOOK_SHARE))

    async def _look(self, *, at_all: bool = False) -> None:
        began, worked = time.perf_counter(), time.thread_time()
        stamps = self._fleet.stamps()
        at_all = at_all or began - self._all_at > max(_ALL_EVERY, self._all_took / _ALL_SHARE)
        if at_all:
            self._priced = {name: self._prices.priced(name) for name in stamps}
            breakers = self._breakers()
            self._beside = {name: (price and price.amount, breakers.get(name)) for name, price in self._priced.items()}
        changed = list(stamps) if at_all else self._changed(stamps, began)
        self._stamps = self._stamps | {name: stamps[name] for name in changed} if not at_all else dict(stamps)
        endpoints = [self._fleet.endpoint(name) for name in changed]
        delta = self._board.look(endpoints, stamps, time.time(), self._beside, self._spending)
        self.looking = time.thread_time() - worked  # on a busy machine others' work would count as ours
        if at_all:
            self._all_at, self._all_took = began, self.looking
        if delta:
            await self._tell(self._message(delta))

    def _changed(self, stamps: Mapping[str, Stamp], now: float) -> list[str]:
        """Whose state changed, at once; whose requests came and went, once in a while."""
        counts = now - self._counted_at >= _COUNT_EVERY
        if counts:
            self._counted_at = now
        before = self._stamps
        return [
            name
            for name, stamp in stamps.items()
            if name not in before or stamp[0] is not before[name][0] or (counts and stamp != before[name])
        ]

    def _message(self, delta: Delta) -> dict[str, Any]:
        spending = {name: [one.cold_start, one.serving, one.idle, one.saved] for name, one in delta.spending.items()}
        return {
            "number": self._board.number,
            "now": time.time(),
            "rows": delta.rows,
            "gone": delta.gone,
            "spending": spending,
            "spending_error": self._spending_error,
        }

    def _describe(self, endpoint: Endpoint) -> Mapping[str, Any]:
        name = endpoint.spec.name
        billed = self._fleet.is_billed(endpoint)
        status = EndpointStatus.of(endpoint, "", self._breakers().get(name), self._priced.get(name), billed=billed)
        return status.model_dump(mode="json", exclude_none=True)

    async def _add_up(self) -> None:
        while True:
            await self._wanted.wait()
            began = time.perf_counter()
            try:
                self._spending = await self._today()
                self._spending_error = None
            except LamplighterError as error:
                self._spending_error = error.message
            except Exception:
                log.exception("adding up for the page broke")
                self._spending_error = "what was spent today could not be added up; the server's log tells more"
            took = time.perf_counter() - began
            await asyncio.sleep(max(_SPENDING_EVERY, took / _SPENDING_SHARE))

    async def _today(self) -> dict[str, Spending]:
        today = self._costs.calendar.day_of(int(time.time()))
        report = await self._costs.report(CostQuery(by=(Dimension.ENDPOINT,), since=today))
        return {
            line.group[0]: Spending(
                float(line.cold_start),
                float(line.serving),
                float(line.idle),
                None if line.saved is None else float(line.saved),
            )
            for line in report.lines
        }
