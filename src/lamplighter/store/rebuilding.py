"""Charges everything anew from the facts. In the store's thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from itertools import chain

from sqlalchemy import Connection, and_, delete, or_, select

from lamplighter.domain.calendar import Calendar
from lamplighter.domain.closing import Position
from lamplighter.store import tables
from lamplighter.store.charging import (
    PRUNED,
    Terms,
    charge,
    load,
    load_marks,
    newest_usage,
    note_counted,
    read_position,
)
from lamplighter.store.sums import Sums, staged


def rebuild(connection: Connection, until: int, terms: Terms) -> date | None:
    """Charge everything up to the hour that ends at `until` anew, from the facts alone.

    Tells the day with which that begins: None for the first of all, where no facts have been pruned; else that of the
    first month of which all are there. What is older stays.
    """
    begin = _rebuilt_from(connection, terms.calendar)
    day = None if begin is None else terms.calendar.day_of(begin)
    if begin is None or begin < until:
        with _much_memory(connection), staged(connection) as stage:
            _forget_charges(connection, day)
            for name in _every_name(connection):
                stage.add_up(_rebuild(connection, name, begin, until, terms))
            note_counted(connection)
    return day


@contextmanager
def _much_memory(connection: Connection) -> Iterator[None]:
    """Each endpoint's facts lie all over their tables: these are kept in memory meanwhile, as far as 128 MB go."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql("PRAGMA cache_size=-131072")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA cache_size={before}")


def _rebuild(connection: Connection, name: str, begin: int | None, until: int, terms: Terms) -> Sums:
    states = tables.ledger_states
    position = _kept_position(connection, name, begin)
    connection.execute(delete(states).where(states.c.endpoint == name, states.c.until > (begin or 0)))
    one = {name: position}
    last = newest_usage(connection, until)
    facts = load(connection, one, terms, low=position.last_transition, last_usage=last, until=until)
    first = None if begin is None else terms.calendar.day_of(begin)
    return charge(connection, one, facts, until, terms, first=first)


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


def _kept_position(connection: Connection, name: str, begin: int | None) -> Position:
    states = tables.ledger_states.c
    query = select(tables.ledger_states).where(states.endpoint == name, states.until == begin)
    row = None if begin is None else connection.execute(query).one_or_none()
    return Position() if row is None else read_position(row)
