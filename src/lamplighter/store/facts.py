"""Reads the facts that dollars are made of: who was in which state, when requests were in flight, and whose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from lamplighter.domain.accounts import KEY, Account
from lamplighter.domain.calendar import HOUR, Calendar
from lamplighter.domain.closing import Facts, Position
from lamplighter.domain.endpoint import State
from lamplighter.domain.ledger import Used
from lamplighter.domain.timeline import SECOND, Sighting, micros
from lamplighter.store import tables

_FEW = 10

# In the order in which `_sighting` reads them, behind the endpoint's name.
_SIGHTING = (
    "endpoint",
    "id",
    "at",
    "before",
    "after",
    "duration",
    "replicas",
    "provider",
    "cause",
    "route",
    "seen_until",
)
_STATES: Mapping[str | None, State | None] = {None: None, **{state.value: state for state in State}}


def load_facts(
    connection: Connection,
    positions: Mapping[str, Position],
    *,
    calendar: Calendar,
    providers: Mapping[str, str],
    low: int,
    last_usage: int,
    until: int,
) -> dict[str, Facts]:
    """What was not counted yet of each of these endpoints.

    `low`: no transition up to this row is wanted. `last_usage`: no usage behind this row is; what of it has a moment
    from `until` on (the clock was wrong) counts in the hour before that. `providers` says where an endpoint is whose
    transitions do not tell.
    """
    facts = {name: Facts() for name in positions}
    if not facts:
        return facts
    sightings: dict[str, list[Sighting]] = defaultdict(list)
    for name, *row in connection.execute(_transitions(positions, low)):
        position = positions.get(name)
        if position is not None and row[0] > position.last_transition:
            sightings[name].append(_sighting(row, providers.get(name, "")))
    for name, found in sightings.items():
        facts[name].sightings = found
    _load_activity(connection, positions, facts)
    newest = calendar.hour_of(until - 1)
    for name, hour, account, used in _used(connection, positions, last_usage, newest):
        accounts = facts[name].used.setdefault(min(hour, newest), {})
        accounts[account] = accounts[account].plus(used) if account in accounts else used
    return facts


def _transitions(positions: Mapping[str, Position], low: int) -> Any:
    table = tables.transitions
    query = select(*(table.c[name] for name in _SIGHTING)).where(table.c.id > low).order_by(table.c.id)
    # Of many endpoints the newest rows of all are read: an index by names would lead through each one's history.
    return query if len(positions) > _FEW else query.where(_among(table.c.endpoint, positions))


def _sighting(row: Sequence[Any], provider: str) -> Sighting:
    """One is made of every transition, millions where all is charged anew."""
    number, at, before, after, duration, replicas, told, cause, route, seen_until = row
    return Sighting(
        number=number,
        at=micros(at),
        before=_STATES[before],
        after=_STATES[after],
        lasted=None if duration is None else micros(duration),
        replicas=replicas,
        provider=told or provider,
        cause=cause,
        route=route,
        seen_until=None if seen_until is None else micros(seen_until),
    )


def _load_activity(connection: Connection, positions: Mapping[str, Position], facts: dict[str, Facts]) -> None:
    table = tables.activity
    for until, names in _alike(positions, lambda one: one.until or 0):
        query = select(table.c.endpoint, table.c.hour, table.c.busy).where(table.c.hour >= until)
        if not until or len(names) <= _FEW:
            query = query.where(_among(table.c.endpoint, names))
        for name, hour, busy in connection.execute(query):
            if name in names:
                facts[name].busy[hour] = micros(busy)


def _used(
    connection: Connection, positions: Mapping[str, Position], last: int, newest: int
) -> Iterator[tuple[str, int, Account, Used]]:
    """What was used, by endpoint, hour and account."""
    usage = tables.usage.c
    shift = -newest % HOUR  # a zone's clocks may show full hours at half past
    bucket = func.floor((usage.at + shift) / HOUR)
    flight = case((usage.duration > usage.waited, usage.duration - usage.waited), else_=0.0)
    query = (
        select(
            usage.endpoint,
            bucket,
            usage.key,
            usage.model,
            func.sum(flight),
            func.sum(usage.requests),
            func.sum(usage.tokens_in),
            func.sum(usage.tokens_out),
            func.sum(usage.nanodollars),
        )
        .where(usage.id <= last)
        .group_by(usage.endpoint, bucket, usage.key, usage.model)
        .order_by(usage.endpoint, bucket, usage.key, usage.model)
    )
    for counted, names in _alike(positions, lambda one: one.last_usage):
        open_ = query.where(usage.id > counted)
        if not counted or len(names) <= _FEW:
            open_ = open_.where(_among(usage.endpoint, names))
        for name, hours, key, model, in_flight, *counts in connection.execute(open_):
            if name in names:
                account: Account = (KEY + key if key else "", model)
                yield name, int(hours) * HOUR - shift, account, Used(round(in_flight * SECOND), *counts)


def _alike(positions: Mapping[str, Position], reached: Callable[[Position], int]) -> Iterator[tuple[int, set[str]]]:
    """Endpoints by how far they got: it is the same for nearly all.

    Each group is read by itself, so that one of which nothing is closed yet leads through no other one's history.
    """
    alike: dict[int, set[str]] = defaultdict(set)
    for name, position in positions.items():
        alike[reached(position)].add(name)
    return iter(alike.items())


def _among(column: ColumnElement[str], names: Collection[str]) -> ColumnElement[bool]:
    return column.in_(sorted(names))
