"""What endpoints have cost: hours that are closed from their sums, those that are open from the facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from lamplighter.domain.ledger import Kind
from lamplighter.store import tables
from lamplighter.store.charging import Terms, open_charges
from lamplighter.store.sums import SUMS, Dated

DIMENSIONS = ("day", "endpoint", "provider", "cause", "route")
"""By what costs can be told apart, beside kind and certainty."""

_TOTALS = frozenset({"day", "provider", "cause"})
_SEEKS = 20_000  # so many places in a table are sought faster than all of its rows are read


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFilter:
    """What is wanted: apart `by` dimensions, from the day `since` on, before the day `until`.

    `endpoints`, `causes` and `providers` None: all of them.
    """

    by: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    endpoints: frozenset[str] | None = None
    causes: frozenset[str] | None = None
    providers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class CostRow:
    """A sum. `group` has a value for each of the dimensions that were wanted, in their order; a day is a text."""

    group: tuple[str, ...]
    kind: Kind
    estimated: bool
    nanos: int
    micros: int
    unpriced: int
    requests: int
    tokens_in: int
    tokens_out: int


def select_costs(connection: Connection, wanted: CostFilter, now: int, terms: Terms) -> list[CostRow]:
    """Add up, up to the moment `now` (microseconds)."""
    sums: dict[tuple[tuple[str, ...], str, bool], list[int]] = defaultdict(lambda: [0] * len(SUMS))
    for grain, since, until in _parts(wanted):
        for row in connection.execute(_closed(connection, wanted, grain, since, until)):
            _add(sums[tuple(row[: len(wanted.by)]), row.kind, row.estimated], row[-len(SUMS) :])
    for dated in open_charges(connection, now, terms, wanted.endpoints):
        if _matches(wanted, dated):
            charge = dated.charge
            parts = (charge.nanos, charge.micros, charge.unpriced, charge.requests, charge.tokens_in, charge.tokens_out)
            _add(sums[_group(wanted, dated), charge.kind.value, charge.estimated], parts)
    return [CostRow(group, Kind(kind), estimated, *parts) for (group, kind, estimated), parts in sorted(sums.items())]


def _parts(wanted: CostFilter) -> Iterator[tuple[str, str | None, str | None]]:
    """Which sums are read, from which period on and before which: the coarsest that tell what is wanted."""
    since, until = wanted.since, wanted.until
    if wanted.endpoints is None and _TOTALS.issuperset(wanted.by):
        yield "total", _text(since), _text(until)
    elif "day" in wanted.by:
        yield "day", _text(since), _text(until)
    else:
        yield from _by_month(since, until)


def _by_month(since: date | None, until: date | None) -> Iterator[tuple[str, str | None, str | None]]:
    """Whole months by their sums, what is left at both ends by days."""
    first = since if since is None or since.day == 1 else _next_month(since)
    last = None if until is None else until.replace(day=1)
    if first is not None and last is not None and first >= last:
        yield "day", _text(since), _text(until)
        return
    yield "month", _month(first), _month(last)
    if since is not None and since != first:
        yield "day", _text(since), _text(first)
    if until is not None and until != last:
        yield "day", _text(last), _text(until)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _month(day: date | None) -> str | None:
    return None if day is None else day.isoformat()[:7]


def _closed(connection: Connection, wanted: CostFilter, grain: str, since: str | None, until: str | None) -> Any:
    charges = tables.charges.c
    groups: list[ColumnElement[Any]] = [charges["period" if name == "day" else name] for name in wanted.by]
    query = select(*groups, charges.kind, charges.estimated, *(func.sum(charges[name]) for name in SUMS))
    query = query.where(charges.grain == grain)
    for name, among in (
        (charges.endpoint, wanted.endpoints),
        (charges.cause, wanted.causes),
        (charges.provider, wanted.providers),
    ):
        if among is not None:
            query = query.where(name.in_(sorted(among)))
    query = query.group_by(*groups, charges.kind, charges.estimated)
    if wanted.endpoints is not None and grain != "month":
        days = _days(connection, since, until)
        if len(days) * len(wanted.endpoints) < _SEEKS:
            return query.where(charges.period.in_(days))
    if since is not None:
        query = query.where(charges.period >= since)
    if until is not None:
        query = query.where(charges.period < until)
    return query


def _days(connection: Connection, since: str | None, until: str | None) -> list[str]:
    """The days of which there may be anything. Rows are ordered by days, then endpoints: few are found so."""
    charges = tables.charges.c
    ends = []
    for end in (func.min, func.max):
        query = select(end(charges.period)).where(charges.grain == "day")
        ends.append(connection.scalar(query))
    if None in ends:
        return []
    first = date.fromisoformat(max(ends[0], since or ends[0]))
    last = date.fromisoformat(ends[1])
    if until is not None:
        last = min(last, date.fromisoformat(until) - timedelta(days=1))
    days = ((first + timedelta(days=passed)).isoformat() for passed in range((last - first).days + 1))
    return list(islice(days, _SEEKS))


def _matches(wanted: CostFilter, dated: Dated) -> bool:
    charge = dated.charge
    return (
        (wanted.since is None or dated.day >= wanted.since)
        and (wanted.until is None or dated.day < wanted.until)
        and (wanted.endpoints is None or dated.endpoint in wanted.endpoints)
        and (wanted.causes is None or charge.account[0] in wanted.causes)
        and (wanted.providers is None or charge.provider in wanted.providers)
    )


def _group(wanted: CostFilter, dated: Dated) -> tuple[str, ...]:
    cause, route = dated.charge.account
    values = {
        "day": dated.day.isoformat(),
        "endpoint": dated.endpoint,
        "provider": dated.charge.provider,
        "cause": cause,
        "route": route,
    }
    return tuple(values[name] for name in wanted.by)


def _add(total: list[int], parts: Sequence[int]) -> None:
    for index, part in enumerate(parts):
        total[index] += part
