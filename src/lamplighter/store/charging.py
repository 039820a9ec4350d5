"""Closes hours: reads the facts, has the ledger charge them, and adds up what that came to. In the store's thread.

An endpoint's hours are closed in one transaction with how far that got, so that no fact is counted twice or lost
whenever the process ends. Hours are named by the whole second of Unix time in which they begin.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, and_, bindparam, delete, func, insert, or_, select, text

from lamplighter.domain.calendar import Calendar
from lamplighter.domain.closing import Facts, Position, advance
from lamplighter.domain.ledger import Charge, Prices, Rules
from lamplighter.domain.timeline import SECOND
from lamplighter.store import carried, tables
from lamplighter.store.facts import load_facts

_SUMS = ("nanodollars", "microseconds", "unpriced", "requests", "tokens_in", "tokens_out")
_KEYS = ("grain", "period", "endpoint", "provider", "kind", "cause", "route", "estimated")
_COLUMNS = (*_KEYS, *_SUMS)

_UPSERT = text(  # the names stand above
    f"INSERT INTO charges ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) "  # noqa: S608
    f"ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET "
    + ", ".join(f"{name} = charges.{name} + excluded.{name}" for name in _SUMS)
)

_ACTIVITY = text(
    "INSERT INTO activity (endpoint, hour, busy) VALUES (:endpoint, :hour, :busy) "
    "ON CONFLICT (endpoint, hour) DO UPDATE SET busy = excluded.busy"
)

WATCHED, PRUNED = "watched", "pruned"
TRANSITIONS, USAGE = "transitions", "usage"

_Sums: TypeAlias = dict[tuple[date, str, str, str, str, str, bool], list[int]]
_Kept: TypeAlias = list[tuple[str, Position]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """By what hours are charged: prices by endpoint, how providers bill, and whose days count.

    `providers` says where an endpoint is whose transitions do not tell.
    """

    calendar: Calendar
    prices: Mapping[str, Prices] = field(default_factory=dict)
    rules: Rules = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dated:
    """A charge of an endpoint on a day."""

    day: date
    endpoint: str
    charge: Charge


# Closing.


def new_names(connection: Connection) -> list[str]:
    """All endpoints that the ledger knows, and those of which there is something new."""
    marks = load_marks(connection)
    found = set(connection.scalars(select(tables.ledger_states.c.endpoint).distinct()))
    for table, mark in ((tables.transitions, TRANSITIONS), (tables.usage, USAGE)):
        found.update(connection.scalars(select(table.c.endpoint).where(table.c.id > marks.get(mark, 0)).distinct()))
    return sorted(found)


def close_hours(connection: Connection, names: Sequence[str], until: int, terms: Terms) -> None:
    """Charge the hours of these endpoints that end up to `until`, itself the end of an hour."""
    positions = _positions(connection, names)
    last = _last_usage(connection, until)
    low = int(load_marks(connection).get(TRANSITIONS, 0))
    facts = _load(connection, positions, terms, low=low, last_usage=last, until=until)
    _close(connection, positions, facts, until, terms, first=None)


def note_counted(connection: Connection) -> None:
    """Note up to which rows all facts have been counted: the next look begins behind them, and pruning ends there."""
    states = tables.ledger_states
    for mark, table, column in (
        (TRANSITIONS, tables.transitions, states.c.last_transition),
        (USAGE, tables.usage, states.c.last_usage),
    ):
        low = load_marks(connection).get(mark, 0)
        reached = select(states.c.endpoint, func.max(column).label("last")).group_by(states.c.endpoint).subquery()
        first_open = connection.scalar(
            select(func.min(table.c.id))
            .select_from(table.outerjoin(reached, reached.c.endpoint == table.c.endpoint))
            .where(table.c.id > low, or_(reached.c.last.is_(None), table.c.id > reached.c.last))
        )
        newest = connection.scalar(select(func.max(table.c.id))) or 0
        set_mark(connection, mark, newest if first_open is None else first_open - 1)


# What is open.


def open_charges(connection: Connection, now: int, terms: Terms) -> list[Dated]:
    """What the hours that are not closed yet come to up to the moment `now` (microseconds). Writes nothing."""
    positions, facts = _open(connection, now, terms)
    every = (_charged(name, one, facts[name], now, terms, []) for name, one in positions.items())
    return list(chain.from_iterable(every))


def open_positions(connection: Connection, now: int, terms: Terms) -> dict[str, Position]:
    """How each endpoint stands at the moment `now` (microseconds), with the cost of its awake period so far."""
    positions, facts = _open(connection, now, terms)
    for name, position in positions.items():
        list(_charged(name, position, facts[name], now, terms, []))
    return positions


def _open(connection: Connection, now: int, terms: Terms) -> tuple[dict[str, Position], dict[str, Facts]]:
    positions = _positions(connection, new_names(connection))
    last = connection.scalar(select(func.max(tables.usage.c.id))) or 0
    low = int(load_marks(connection).get(TRANSITIONS, 0))
    until = now // SECOND + 1
    return positions, _load(connection, positions, terms, low=low, last_usage=last, until=until)


# Anew.


def rebuild(connection: Connection, until: int, terms: Terms) -> date | None:
    """Charge everything up to the hour that ends at `until` anew, from the facts alone.

    Tells the day with which that begins: None for the first of all, where no facts have been pruned; else that of the
    first month of which all are there. What is older stays.
    """
    begin = _rebuilt_from(connection, terms.calendar)
    day = None if begin is None else terms.calendar.day_of(begin)
    if begin is None or begin < until:
        with _much_memory(connection):
            _forget_charges(connection, day)
            for name in _every_name(connection):
                _rebuild(connection, name, begin, until, terms)
            note_counted(connection)
    return day


@contextmanager
def _much_memory(connection: Connection) -> Iterator[None]:
    """Each endpoint's sums lie all over the table: it is kept in memory meanwhile, as far as 128 MB go."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql("PRAGMA cache_size=-131072")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA cache_size={before}")


def _rebuild(connection: Connection, name: str, begin: int | None, until: int, terms: Terms) -> None:
    states = tables.ledger_states
    position = _kept_position(connection, name, begin)
    connection.execute(delete(states).where(states.c.endpoint == name, states.c.until > (begin or 0)))
    one = {name: position}
    last = _last_usage(connection, until)
    facts = _load(connection, one, terms, low=position.last_transition, last_usage=last, until=until)
    _close(connection, one, facts, until, terms, first=None if begin is None else terms.calendar.day_of(begin))


def _rebuilt_from(connection: Connection, calendar: Calendar) -> int | None:
    """The first beginning of a month behind what was pruned; None where nothing was."""
    pruned = load_marks(connection).get(PRUNED)
    if pruned is None:
        return None
    day = calendar.day_of(int(pruned))
    begin = calendar.begin_of(day.replace(day=1))
    if begin < pruned:
        begin = calendar.begin_of(date(day.year + day.month // 12, day.month % 12 + 1, 1))
    return begin


def _forget_charges(connection: Connection, day: date | None) -> None:
    charges = tables.charges.c
    if day is None:
        connection.execute(delete(tables.charges))
        return
    days = and_(charges.grain.in_(("day", "total")), charges.period >= day.isoformat())
    months = and_(charges.grain == "month", charges.period >= day.isoformat()[:7])
    connection.execute(delete(tables.charges).where(or_(days, months)))


def _every_name(connection: Connection) -> list[str]:
    every = (tables.ledger_states, tables.transitions, tables.usage, tables.activity)
    return sorted(set(chain.from_iterable(connection.scalars(select(one.c.endpoint).distinct()) for one in every)))


# One endpoint after the other.


def _close(
    connection: Connection,
    positions: Mapping[str, Position],
    facts: Mapping[str, Facts],
    until: int,
    terms: Terms,
    *,
    first: date | None,
) -> None:
    """Charge, add up what falls on `first` or later, and write how far that got."""
    last = _last_usage(connection, until)
    sums: _Sums = defaultdict(lambda: [0] * len(_SUMS))
    kept: _Kept = []
    moved: dict[str, Position] = {}
    for name, position in positions.items():
        before = position.until
        for dated in _charged(name, position, facts[name], until * SECOND, terms, kept):
            if first is None or dated.day >= first:
                _add(sums, dated)
        if position.until != before:
            position.last_usage = max(position.last_usage, last)
            moved[name] = position
    _write(connection, sums)
    _save(connection, moved, kept)


def _charged(  # noqa: PLR0917 - as its callers have them
    name: str, position: Position, facts: Facts, until: int, terms: Terms, kept: _Kept
) -> Iterator[Dated]:
    """Charge up to the moment `until` (microseconds), and put the positions at the beginnings of months aside."""
    calendar, prices = terms.calendar, terms.prices.get(name, ())
    for begin, charges in advance(position, facts, until, calendar=calendar, prices=prices, rules=terms.rules):
        day = calendar.day_of(begin)
        for charge in charges:
            yield Dated(day, name, charge)
        if position.until is not None and calendar.begins_month(position.until):
            kept.append((name, dataclasses.replace(position)))


def _load(
    connection: Connection, positions: Mapping[str, Position], terms: Terms, *, low: int, last_usage: int, until: int
) -> dict[str, Facts]:
    return load_facts(
        connection,
        positions,
        calendar=terms.calendar,
        providers=terms.providers,
        low=low,
        last_usage=last_usage,
        until=until,
    )


def _last_usage(connection: Connection, until: int) -> int:
    """The last row of usage that counts in hours up to `until`: rows behind it that are older came late."""
    usage = tables.usage.c
    newest = select(usage.id).where(usage.at < until).order_by(usage.at.desc(), usage.id.desc()).limit(1)
    return connection.scalar(newest) or 0


# Sums.


def _add(sums: _Sums, dated: Dated) -> None:
    charge = dated.charge
    parts = (charge.nanos, charge.micros, charge.unpriced, charge.requests, charge.tokens_in, charge.tokens_out)
    cause, route = charge.account
    total = sums[dated.day, dated.endpoint, charge.provider, charge.kind.value, cause, route, charge.estimated]
    for index, part in enumerate(parts):
        total[index] += part


def _write(connection: Connection, sums: _Sums) -> None:
    """Add these sums to those of their days, of their months, and of the days of all endpoints."""
    coarse: dict[tuple[str, str, str, str, str, str, str, bool], list[int]] = {}
    rows = []
    for (date_, name, *rest, cause, route, estimated), parts in sums.items():
        day = date_.isoformat()
        rows.append(("day", day, name, *rest, cause, route, estimated, *parts))
        provider, kind = rest
        for key in (
            ("month", day[:7], name, provider, kind, cause, route, estimated),
            ("total", day, "", provider, kind, "", "", estimated),
        ):
            had = coarse.get(key)
            coarse[key] = parts if had is None else [one + more for one, more in zip(had, parts, strict=True)]
    rows += [(*key, *parts) for key, parts in coarse.items()]
    if rows:
        connection.execute(_UPSERT, [dict(zip(_COLUMNS, row, strict=True)) for row in rows])


# Positions.


def _positions(connection: Connection, names: Sequence[str]) -> dict[str, Position]:
    """How far each endpoint got; those of which nothing is closed begin anew."""
    states = tables.ledger_states
    newest = (
        select(states.c.endpoint, func.max(states.c.until).label("until"))
        .where(states.c.endpoint.in_(list(names)))
        .group_by(states.c.endpoint)
        .subquery()
    )
    query = select(states).join(newest, and_(states.c.endpoint == newest.c.endpoint, states.c.until == newest.c.until))
    found = {row.endpoint: _position(row) for row in connection.execute(query)}
    return {name: found.get(name) or Position() for name in names}


def _kept_position(connection: Connection, name: str, begin: int | None) -> Position:
    states = tables.ledger_states.c
    query = select(tables.ledger_states).where(states.endpoint == name, states.until == begin)
    row = None if begin is None else connection.execute(query).one_or_none()
    return Position() if row is None else _position(row)


def _position(row: Any) -> Position:
    return Position(
        until=row.until,
        last_transition=row.last_transition,
        last_usage=row.last_usage,
        carried=carried.read(row.carried),
    )


def _save(connection: Connection, positions: Mapping[str, Position], kept: _Kept) -> None:
    """Write how far each endpoint got, in place of what was written before, and of months beside it."""
    if not positions:
        return
    states = tables.ledger_states
    rows = {}
    for name, position in positions.items():
        rows[name, position.until] = _row(name, position, kept=False)
    for name, position in kept:
        assert position.until is not None
        position.last_usage = max(position.last_usage, _last_usage(connection, position.until))
        rows[name, position.until] = _row(name, position, kept=True)
    connection.execute(delete(states).where(states.c.endpoint.in_(list(positions)), states.c.kept.is_(False)))
    ahead = and_(states.c.endpoint == bindparam("b_endpoint"), states.c.until > bindparam("b_until"))
    taken_back = [{"b_endpoint": name, "b_until": one.until} for name, one in positions.items()]
    connection.execute(delete(states).where(ahead), taken_back)  # of a clock that was far ahead
    connection.execute(insert(states), list(rows.values()))


def _row(name: str, position: Position, *, kept: bool) -> dict[str, object]:
    return {
        "endpoint": name,
        "until": position.until,
        "last_transition": position.last_transition,
        "last_usage": position.last_usage,
        "kept": kept,
        "carried": carried.document_of(position.carried),
    }


# Marks, and pruning.


def load_marks(connection: Connection) -> dict[str, float]:
    """All marks by name."""
    return {row.name: row.value for row in connection.execute(select(tables.ledger_marks))}


def set_mark(connection: Connection, name: str, value: float) -> None:
    """Write a mark in place of what was there."""
    marks = tables.ledger_marks
    connection.execute(delete(marks).where(marks.c.name == name))
    connection.execute(insert(marks).values(name=name, value=value))


def save_activity(connection: Connection, rows: Sequence[tuple[str, int, float]]) -> None:
    """Write how many seconds endpoints were busy in hours, in place of what was written before."""
    if rows:
        values = [{"endpoint": name, "hour": hour, "busy": busy} for name, hour, busy in rows]
        connection.execute(_ACTIVITY, values)


def load_activity(connection: Connection, since: int) -> dict[tuple[str, int], float]:
    """How many seconds endpoints were busy in each hour from `since` on."""
    table = tables.activity
    rows = connection.execute(select(table).where(table.c.hour >= since))
    return {(row.endpoint, row.hour): row.busy for row in rows}


def prune_counted(connection: Connection, table: Table, before: float, limit: int) -> int:
    """Delete at most `limit` facts older than `before` that have been counted; the newest row stays.

    Rows are numbered on from the newest one: were all of them gone, numbers that were counted would come again.
    """
    mark = {"transitions": TRANSITIONS, "usage": USAGE}[table.name]
    counted = int(load_marks(connection).get(mark, 0))
    newest = connection.scalar(select(func.max(table.c.id))) or 0
    old = select(table.c.id).where(table.c.at < before, table.c.id <= min(counted, newest - 1)).limit(limit)
    return connection.execute(delete(table).where(table.c.id.in_(old))).rowcount


def prune_ledger(connection: Connection, before: float) -> int:
    """Delete activity that has been counted and positions that are older than `before`, and note that it was done."""
    states, activity = tables.ledger_states, tables.activity
    reached = _newest_positions(connection)
    closed = min(before, min(reached.values(), default=0))
    gone = connection.execute(delete(activity).where(activity.c.hour < closed)).rowcount
    old = [
        {"b_endpoint": row.endpoint, "b_until": row.until}
        for row in connection.execute(select(states.c.endpoint, states.c.until).where(states.c.until < before))
        if row.until < reached[row.endpoint]
    ]
    if old:
        both = and_(states.c.endpoint == bindparam("b_endpoint"), states.c.until == bindparam("b_until"))
        connection.execute(delete(states).where(both), old)
    set_mark(connection, PRUNED, max(before, load_marks(connection).get(PRUNED, 0.0)))
    return gone + len(old)


def _newest_positions(connection: Connection) -> dict[str, int]:
    states = tables.ledger_states.c
    query = select(states.endpoint, func.max(states.until).label("until")).group_by(states.endpoint)
    return {row.endpoint: row.until for row in connection.execute(query)}
