"""What requests used: when they came, and how fast they were answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from lamplighter.domain.usage import Outcome
from lamplighter.store import tables

MOST_SPELLS = 50_000
"""Into how many parts a time is divided at most."""

_LEAST_STEP = 1.0
_OK = 400
_TRICKLED = 0.1
"""An answer that went on for longer than this after its first byte (seconds) came in pieces, as streams do."""


@dataclass(frozen=True, slots=True)
class Spell:
    """The requests to one target that ended in one part of a time: from the first beginning to the last end.

    `told` of them told their tokens. Moments are Unix time; what was waited for a wake is before `begin`.
    """

    target: str
    begin: float
    end: float
    requests: int
    told: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What one target answered well: tokens, and the seconds that took, request by request and without the waiting.

    `first_byte` sums the seconds until the first byte of the `streams`, answers that came in pieces.
    """

    requests: int = 0
    tokens: int = 0
    seconds: float = 0.0
    streams: int = 0
    first_byte: float = 0.0


def select_spells(
    connection: Connection, targets: Sequence[str], route: str | None, since: float, until: float
) -> list[Spell]:
    """When requests were answered, the oldest first: by these targets, and where `route` is given, only by that route.

    No targets: whoever answered for the route.
    """
    usage = tables.usage.c
    wanted: list[ColumnElement[bool]] = [usage.at >= since, usage.at < until, usage.status < _OK, usage.endpoint != ""]
    if targets:
        wanted.append(usage.endpoint.in_(sorted(targets)))
    if route is not None:
        wanted.append(usage.model == route)
    first = connection.scalar(select(func.min(usage.at)).where(*wanted))
    if first is None:
        return []
    step = max(_LEAST_STEP, (until - first) / MOST_SPELLS)
    part = func.floor((usage.at - first) / step)
    query = (
        select(
            usage.endpoint,
            func.min(usage.at - (usage.duration - usage.waited) / usage.requests),
            func.max(usage.at),
            func.sum(usage.requests),
            func.sum(case((usage.tokens_in + usage.tokens_out > 0, usage.requests), else_=0)),
            func.sum(usage.tokens_in),
            func.sum(usage.tokens_out),
        )
        .where(*wanted)
        .group_by(usage.endpoint, part)
        .order_by(part, usage.endpoint)
    )
    return [Spell(*row) for row in connection.execute(query)]


def select_answered(connection: Connection, target: str, since: float) -> Answered:
    """How fast a target answered since a moment."""
    usage = tables.usage.c
    well = and_(usage.status == 200, usage.outcome == Outcome.SERVED.value)
    took = usage.duration - usage.waited
    trickled = and_(usage.first_byte > 0, usage.duration - usage.first_byte > _TRICKLED * usage.requests)
    query = select(
        func.sum(usage.requests),
        func.sum(usage.tokens_out),
        func.sum(_where(usage.tokens_out > 0, took)),
        func.sum(_where(trickled, usage.requests)),
        func.sum(_where(trickled, usage.first_byte - usage.waited)),
    ).where(usage.endpoint == target, usage.at >= since, well)
    row = connection.execute(query).one()
    return Answered(*(value or 0 for value in row))


def _where(condition: ColumnElement[bool], value: Any) -> Any:
    return case((condition, value), else_=0)
