"""Closes hours: reads the facts, has the ledger charge them, and adds up what that came to. In the store's thread.

An endpoint's hours are closed in one transaction with how far that got, so that no fact is counted twice or lost
whenever the process ends. Hours are named by the whole second of Unix time in which they begin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
)

from lamplighter.domain.calendar import Calendar
from lamplighter.domain.closing import Facts, Position, advance
from lamplighter.domain.ledger import Prices, Rules
from lamplighter.domain.timeline import SECOND
from lamplighter.store import carried, tables
from lamplighter.store.facts import load_facts
from lamplighter.store.sums import Dated, Sums, add, add_up

_ACTIVITY = text(
    "INSERT INTO activity (endpoint, hour, busy) VALUES (:endpoint, :hour, :busy) "
    "ON CONFLICT (endpoint, hour) DO UPDATE SET busy = excluded.busy"
)

WATCHED, PRUNED = "watched", "pruned"
TRANSITIONS, USAGE = "transitions", "usage"

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


# Closing.


def new_names(connection: Connection) -> list[str]:
    """All endpoints that the ledger knows, and those of which there is something new."""
    marks = load_marks(connection)
    found = set(connection.scalars(select(tables.ledger_states.c.endpoint).distinct()))
    for table, mark in ((tables.transitions, TRANSITIONS), (tables.usage, USAGE)):
        # Not `distinct`: for that an index of all names there ever were would be read, in place of the few last rows.
        found.update(connection.scalars(select(table.c.endpoint).where(table.c.id > marks.get(mark, 0))))
    return sorted(found)


def close_hours(connection: Connection, names: Sequence[str], until: int, terms: Terms) -> None:
    """Charge the hours of these endpoints that end up to `until`, itself the end of an hour."""
    positions = _positions(connection, names)
    last = newest_usage(connection, until)
    low = int(load_marks(connection).get(TRANSITIONS, 0))
    facts = load(connection, positions, terms, low=low, last_usage=last, until=until)
    add_up(connection, charge(connection, positions, facts, until, terms))


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


def open_charges(connection: Connection, now: int, terms: Terms, names: frozenset[str] | None = None) -> list[Dated]:
    """What the hours that are not closed yet come to up to the moment `now` (microseconds). Writes nothing.

    Of these endpoints; None: of all.
    """
    positions, facts = _open(connection, now, terms, names)
    every = (_charged(name, one, facts[name], now, terms, []) for name, one in positions.items())
    return list(chain.from_iterable(every))


def open_positions(connection: Connection, now: int, terms: Terms) -> dict[str, Position]:
    """How each endpoint stands at the moment `now` (microseconds), with the cost of its awake period so far."""
    positions, facts = _open(connection, now, terms, None)
    for name, position in positions.items():
        list(_charged(name, position, facts[name], now, terms, []))
    return positions


def _open(
    connection: Connection, now: int, terms: Terms, names: frozenset[str] | None
) -> tuple[dict[str, Position], dict[str, Facts]]:
    known = new_names(connection)
    positions = _positions(connection, known if names is None else [name for name in known if name in names])
    last = connection.scalar(select(func.max(tables.usage.c.id))) or 0
    low = int(load_marks(connection).get(TRANSITIONS, 0))
    until = now // SECOND + 1
    return positions, load(connection, positions, terms, low=low, last_usage=last, until=until)


# One endpoint after the other.


def charge(
    connection: Connection,
    positions: Mapping[str, Position],
    facts: Mapping[str, Facts],
    until: int,
    terms: Terms,
    *,
    first: date | None = None,
) -> Sums:
    """Charge, write how far that got, and tell the sums of what falls on `first` or later: they are to be written."""
    last = newest_usage(connection, until)
    sums: Sums = {}
    kept: _Kept = []
    moved: dict[str, Position] = {}
    for name, position in positions.items():
        before = position.until
        for dated in _charged(name, position, facts[name], until * SECOND, terms, kept):
            if first is None or dated.day >= first:
                add(sums, dated)
        if position.until != before:
            position.last_usage = max(position.last_usage, last)
            moved[name] = position
    _save(connection, moved, kept)
    return sums


def _charged(  # noqa: PLR0917 - as its callers have them
    name: str, position: Position, facts: Facts, until: int, terms: Terms, kept: _Kept
) -> Iterator[Dated]:
    """Charge up to the moment `until` (microseconds), and put the positions at the beginnings of months aside."""
    calendar, prices = terms.calendar, terms.prices.get(name, ())
    for begin, charges in advance(position, facts, until, calendar=calendar, prices=prices, rules=terms.rules):
        day = calendar.day_of(begin)
        for charge in charges:
            yield Dated(day, name, charge if charge.provider else charge._replace(provider=name))
        if position.until is not None and calendar.begins_month(position.until):
            kept.append((name, dataclasses.replace(position)))


def load(
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


def newest_usage(connection: Connection, until: int) -> int:
    """The last row of usage that counts in hours up to `until`: rows behind it that are older came late."""
    usage = tables.usage.c
    newest = select(usage.id).where(usage.at < until).order_by(usage.at.desc(), usage.id.desc()).limit(1)
    return connection.scalar(newest) or 0


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
    found = {row.endpoint: read_position(row) for row in connection.execute(query)}
    return {name: found.get(name) or Position() for name in names}


def read_position(row: Any) -> Position:
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
        position.last_usage = max(position.last_usage, newest_usage(connection, position.until))
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
    """Delete at most `limit` facts older than `before` that have been counted.

    The newest row stays, since rows are numbered on from it: were all of them gone, numbers that were counted would
    come again. So does each endpoint's last transition before that moment: it tells how the endpoint stood then, where
    all is charged anew.
    """
    mark = {"transitions": TRANSITIONS, "usage": USAGE}[table.name]
    counted = int(load_marks(connection).get(mark, 0))
    newest = connection.scalar(select(func.max(table.c.id))) or 0
    old = select(table.c.id).where(table.c.at < before, table.c.id <= min(counted, newest - 1)).limit(limit)
    if table is tables.transitions:
        old = old.where(or_(table.c.after.is_(None), _has_later(before)))
    return connection.execute(delete(table).where(table.c.id.in_(old))).rowcount


def _has_later(before: float) -> ColumnElement[bool]:
    """Whether another transition of the same endpoint came after this one, and before that moment."""
    this, later = tables.transitions.c, tables.transitions.alias("later").c
    return exists().where(later.endpoint == this.endpoint, later.at >= this.at, later.at < before, later.id > this.id)


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
