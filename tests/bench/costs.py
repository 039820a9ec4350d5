"""How long reports take over a year of a thousand endpoints, and how long it takes to charge that year anew."""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Connection

from lamplighter.control.accruals import Accruals
from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostQuery, Costs, Dimension
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.tariffs import Tariffs
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import Change
from lamplighter.providers.base import Provider
from lamplighter.store import Store
from tests.bench.report import Figure

ENDPOINTS = 1000
DAYS = 365
WAKES = 2.0  # a day and endpoint; each is four transitions
KEYS = 50
USERS = 3  # keys that use an endpoint
REPEATS = 5

_DAY = 86400.0

_TRANSITION = (
    *("endpoint", "at", "before", "after", "reason", "actor", "duration", "cause", "route", "provider", "replicas"),
)
_USAGE = (
    *("endpoint", "at", "route", "status", "outcome", "waited", "duration", "bytes_in", "bytes_out", "requests"),
    *("model", "key", "tokens_in", "tokens_out"),
)

_Row: TypeAlias = tuple[object, ...]
_Facts: TypeAlias = Iterator[tuple[float, _Row]]


class _Prices:
    def changes(self, endpoint: str, since: float, until: float) -> Sequence[Change]:
        del until
        quote = Quote(subject=endpoint, unit=Unit.REPLICA_HOUR, amount=Decimal("0.8"), source="configuration", at=since)
        return [Change(since, quote)]


class _NoFleet:
    providers: Mapping[str, Provider] = {}

    def places(self) -> Mapping[str, str]:
        return {}


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
        took = await _time(costs, CostQuery(by=by))
        figures.append(Figure(figure=f"report by {' and '.join(by)}, a year", value=took, unit="s", target=1))
    for name, query in _questions(datetime.now(UTC).date()):
        figures.append(Figure(figure=name, value=await _time(costs, query) * 1000, unit="ms"))
    accrued = time.perf_counter()
    costs.accrued()
    figures.append(Figure(figure="what has accrued", value=time.perf_counter() - accrued, unit="s"))
    await store.close()
    return figures


def _questions(today: date) -> Iterator[tuple[str, CostQuery]]:
    """What is asked again and again, of the same year."""
    month = today - timedelta(days=30)
    one, key = frozenset({"endpoint-500"}), frozenset({"key-7"})
    yield "30 days by day, all", CostQuery(by=(Dimension.DAY,), since=month)
    yield "30 days by day, one endpoint", CostQuery(by=(Dimension.DAY,), since=month, endpoints=one)
    yield "30 days by endpoint", CostQuery(by=(Dimension.ENDPOINT,), since=month)
    yield "this month, all", CostQuery(since=today.replace(day=1))
    yield "this month, one endpoint", CostQuery(since=today.replace(day=1), endpoints=one)
    yield "this month, one key", CostQuery(since=today.replace(day=1), keys=key)
    yield "this day, one endpoint", CostQuery(since=today, endpoints=one)
    yield "this day, one key", CostQuery(since=today, keys=key)


async def _time(costs: Costs, query: CostQuery) -> float:
    """The median of some reports; the first one is not counted."""
    took = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        found = await costs.report(query)
        took.append(time.perf_counter() - began)
        assert sum(line.total for line in found.lines) == found.total.total
    return statistics.median(took[1:])


async def _make_year(store: Store) -> int:
    """Write the facts of a year that ends now, day after day as they would come; tells how many transitions that were."""
    chance = random.Random(7)
    now = time.time()
    lives = [_life(f"endpoint-{number}", now, chance) for number in range(ENDPOINTS)]
    waiting = [next(life) for life in lives]
    indexes = await store._run(_without_indexes)
    count = 0
    for day in range(DAYS):
        until = now - (DAYS - 1 - day) * _DAY
        transitions: list[_Row] = []
        usage: list[_Row] = []
        busy: dict[tuple[str, int], float] = {}
        for number, life in enumerate(lives):
            moment, row = waiting[number]
            while moment < until:
                if len(row) == len(_TRANSITION):
                    transitions.append(row)
                else:
                    usage.append(row)
                    key = (str(row[0]), int(moment // 3600) * 3600)
                    busy[key] = busy.get(key, 0.0) + 60
                moment, row = next(life, _END)
            waiting[number] = moment, row
        await store._run(_write, transitions, usage, [(name, hour, took) for (name, hour), took in busy.items()])
        count += len(transitions)
    await store._run(_run_all, indexes)
    return count


_END: tuple[float, _Row] = (math.inf, ())


def _write(
    connection: Connection, transitions: list[_Row], usage: list[_Row], activity: list[tuple[str, int, float]]
) -> None:
    for table, columns, rows in (
        ("transitions", _TRANSITION, sorted(transitions, key=itemgetter(1))),
        ("usage", _USAGE, sorted(usage, key=itemgetter(1))),
        ("activity", ("endpoint", "hour", "busy"), activity),
    ):
        values = ", ".join("?" * len(columns))
        if rows:
            connection.exec_driver_sql(
                f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({values})", list(rows)
            )


def _without_indexes(connection: Connection) -> list[str]:
    """Facts are written several times as fast without them; tells how to make them again."""
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('transitions', 'usage', 'activity')"
    )
    found = [row for row in connection.exec_driver_sql(query).all() if row.sql]
    _run_all(connection, [f"DROP INDEX {row.name}" for row in found])
    return [row.sql for row in found]


def _run_all(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _life(name: str, now: float, chance: random.Random) -> _Facts:
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


def _transition(name: str, at: float, before: str | None, after: str, lasted: float | None, cause: str) -> _Row:
    return (name, at, before, after, "demand", "request", lasted, cause, name, "local", 1)


def _usage(name: str, at: float, key: str) -> _Row:
    route = "/v1/chat/completions"
    return (name, at, route, 200, "served", 0.0, 60.0, 100, 1000, 20, name, key, 1000, 5000)
