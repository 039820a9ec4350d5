"""What one endpoint was charged from one moment to another: worked out from the facts, as charges know days alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, select

from lamplighter.domain.calendar import Calendar
from lamplighter.domain.closing import Facts, Position, advance
from lamplighter.domain.ledger import Kind
from lamplighter.domain.timeline import SECOND
from lamplighter.store import carried, tables
from lamplighter.store.charging import PRUNED, Terms, load_marks
from lamplighter.store.facts import load_facts


@dataclass(frozen=True, slots=True)
class Charged:
    """What a time came to: nanodollars, those of them that are an estimate, and microseconds without a price."""

    nanos: int = 0
    estimated: int = 0
    unpriced: int = 0

    def less(self, other: Charged) -> Charged:
        """What it came to after another time."""
        return Charged(
            self.nanos - other.nanos,
            self.estimated - other.estimated,
            self.unpriced - other.unpriced,
        )


def charged_between(connection: Connection, name: str, since: int, until: int, terms: Terms) -> Charged | None:
    """What an endpoint was charged between two moments (microseconds); None where facts of that time are gone."""
    position = _position_before(connection, name, since // SECOND, terms.calendar)
    if position is None:
        return None
    facts = load_facts(
        connection,
        {name: position},
        calendar=terms.calendar,
        providers=terms.providers,
        low=position.last_transition,
        last_usage=0,  # who used it changes nothing of the sum
        until=until // SECOND + 1,
    )[name]
    return _charged(name, position, facts, until, terms).less(_charged(name, position, facts, since, terms))


def _charged(name: str, position: Position, facts: Facts, until: int, terms: Terms) -> Charged:
    moved, total = dataclasses.replace(position), Charged()
    prices = terms.prices.get(name, ())
    for _, charges in advance(moved, facts, until, calendar=terms.calendar, prices=prices, rules=terms.rules):
        for one in charges:
            if one.kind is not Kind.ALWAYS:
                total = Charged(
                    total.nanos + one.nanos,
                    total.estimated + (one.nanos if one.estimated else 0),
                    total.unpriced + one.unpriced,
                )
    return total


def _position_before(connection: Connection, name: str, moment: int, calendar: Calendar) -> Position | None:
    """The last one that is kept of it up to a moment, or its first of all; None where what came then was pruned."""
    states = tables.ledger_states.c
    query = select(tables.ledger_states).where(states.endpoint == name, states.until <= moment)
    row = connection.execute(query.order_by(states.until.desc()).limit(1)).first()
    pruned = load_marks(connection).get(PRUNED)
    if row is None:
        return None if pruned and _is_older(connection, name, calendar.day_of(int(pruned))) else Position()
    if pruned and row.until < pruned:
        return None
    return Position(
        until=row.until, last_transition=row.last_transition, last_usage=0, carried=carried.read(row.carried)
    )


def _is_older(connection: Connection, name: str, day: date) -> bool:
    """Whether it was charged for a day before this one."""
    charges = tables.charges.c
    query = select(charges.period).where(
        charges.grain == "day", charges.endpoint == name, charges.period < day.isoformat()
    )
    return connection.execute(query.limit(1)).first() is not None
