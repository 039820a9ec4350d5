"""How long reports take over a year of a thousand endpoints, and how long it takes to charge that year anew."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Connection, insert

from lamplighter.control.accruals import Accruals
from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostQuery, Costs, Dimension
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.tariffs import Tariffs
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import Change
from lamplighter.providers.base import Provider
from lamplighter.store import Store, tables
from lamplighter.store.charging import save_activity
from tests.bench.report import Figure

ENDPOINTS = 1000
DAYS = 365
WAKES = 2.0  # a day and endpoint; each is four transitions
KEYS = 50
USERS = 3  # keys that use an endpoint
REPEATS = 5

_DAY = 86400.0

_Row: TypeAlias = dict[str, object]
_Rows: TypeAlias = list[_Row]


class _Prices:
    def changes(self, endpoint: str, since: float, until: float) -> Sequence[Change]:
        del until
        quote = Quote(subject=endpoint, unit=Unit.REPLICA_HOUR, amount=Decimal("0.8"), source="configuration", at=since)
        return [Change(since, quote)]


class _NoFleet:
    providers: Mapping[str, Provider] = {}

    def endpoints(self) -> Sequence[Endpoint]:
        return ()


def measure() -> Iterator[Figure]:
    """All figures of this group, in some minutes: nearly all of it goes into making the year and charging it."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        yield from runner.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[Figure]:
    store = await Store.open(folder / "year.db")
    costs = Costs(
        store, Tariffs(_NoFleet(), _Prices(), Calendar(), Clock()), Accruals(MemoryJournal()), Clock(), keys=list
    )
    transitions = await _make_year(store)
    began = time.perf_counter()
    await costs.rebuild()
    took = time.perf_counter() - began
    what = f"{ENDPOINTS} endpoints, {DAYS} days, {transitions / 1e6:.1f} million transitions"
    figures = [Figure(figure=f"charged anew: {what}", value=took, unit="s")]
    for by in ((Dimension.ENDPOINT,), (Dimension.KEY,), (Dimension.DAY,), (Dimension.ENDPOINT, Dimension.KEY)):
        name = " and ".join(by)
        figures.append(Figure(figure=f"report by {name}, a year", value=await _time(costs, by), unit="s", target=1))
    accrued = time.perf_counter()
    costs.accrued()
    figures.append(Figure(figure="what has accrued", value=time.perf_counter() - accrued, unit="s"))
    await store.close()
    return figures


async def _time(costs: Costs, by: tuple[Dimension, ...]) -> float:
    """The median of some reports; the first one is not counted."""
    took = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        found = await costs.report(CostQuery(by=by))
        took.append(time.perf_counter() - began)
        assert sum(line.total for line in found.lines) == found.total.total > 0
    return statistics.median(took[1:])


async def _make_year(store: Store) -> int:
    """Write the facts of a year that ends now, day after day as they would come; tells how many transitions that were."""
    chance = random.Random(7)
    now = time.time()
    lives = [_life(f"endpoint-{number}", now, chance) for number in range(ENDPOINTS)]
    waiting = [next(life) for life in lives]
    count = 0
    for day in range(DAYS):
        until = now - (DAYS - 1 - day) * _DAY
        transitions: _Rows = []
        usage: _Rows = []
        busy: dict[tuple[str, int], float] = {}
        for number, life in enumerate(lives):
            while waiting[number][0] < until:
                moment, row = waiting[number]
                if "state_left" in row:
                    transitions.append(row)
                else:
                    usage.append(row)
                    key = (str(row["endpoint"]), int(moment // 3600) * 3600)
                    busy[key] = busy.get(key, 0.0) + 60
                waiting[number] = next(life, _END)
        await store._run(_write, transitions, usage, [(name, hour, took) for (name, hour), took in busy.items()])
        count += len(transitions)
    return count


_END: tuple[float, _Row] = (math.inf, {})


def _write(
    connection: Connection, transitions: _Rows, usage: _Rows, activity: Sequence[tuple[str, int, float]]
) -> None:
    for table, rows in ((tables.transitions, transitions), (tables.usage, usage)):
        rows.sort(key=lambda row: float(str(row["at"])))
        if rows:
            connection.execute(insert(table), [{k: v for k, v in row.items() if k != "state_left"} for row in rows])
    save_activity(connection, activity)


def _life(name: str, now: float, chance: random.Random) -> Iterator[tuple[float, _Row]]:
    """What is recorded of one endpoint in a year: transitions and use, each with its moment."""
    at = now - DAYS * _DAY
    keys = [f"key-{chance.randrange(KEYS)}" for _ in range(USERS)]
    yield at, _transition(name, at, None, "scaledToZero", None, "")
    while at < now:
        cause = f"key:{chance.choice(keys)}"
        asleep, awake = chance.expovariate(WAKES / _DAY), 900 + chance.expovariate(1 / 1800)
        for before, after, length in (
            ("scaledToZero", "pending", asleep),
            ("pending", "initializing", 5.0),
            ("initializing", "running", 40.0),
        ):
            at += length
            yield at, _transition(name, at, before, after, length, cause)
        for moment in sorted(at + chance.uniform(0, awake) for _ in range(3)):
            yield moment, _usage(name, moment, chance.choice(keys))
        at += awake
        yield at, _transition(name, at, "running", "scaledToZero", awake, "")


def _transition(
    name: str, at: float, before: str | None, after: str, lasted: float | None, cause: str
) -> dict[str, object]:
    return {
        "endpoint": name,
        "at": at,
        "before": before,
        "after": after,
        "reason": "demand",
        "actor": "request",
        "duration": lasted,
        "cause": cause,
        "route": name,
        "provider": "local",
        "state_left": True,
    }


def _usage(name: str, at: float, key: str) -> dict[str, object]:
    return {
        "endpoint": name,
        "at": at,
        "route": "/v1/chat/completions",
        "status": 200,
        "outcome": "served",
        "waited": 0.0,
        "duration": 60.0,
        "bytes_in": 100,
        "bytes_out": 1000,
        "requests": 20,
        "model": name,
        "key": key,
        "tokens_in": 1000,
        "tokens_out": 5000,
    }
