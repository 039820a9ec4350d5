"""Hour after hour of one endpoint, from its facts. Pure.

Hours are named by the whole second of Unix time in which they begin; other moments are microseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from lamplighter.domain.accounts import Account
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import ASLEEP
from lamplighter.domain.ledger import Carried, Charge, Hour, Prices, Rules, Used, close
from lamplighter.domain.timeline import SECOND, Sighting

DAY = 86400
"""Hours that lie further ahead than this were closed by a clock that was wrong (seconds)."""


@dataclass(slots=True)
class Position:
    """Until when the hours of an endpoint are closed (None: never yet), and the last facts that were counted."""

    until: int | None = None
    last_transition: int = 0
    last_usage: int = 0
    carried: Carried = field(default_factory=Carried)


@dataclass(slots=True)
class Facts:
    """What of one endpoint was not counted yet. `busy` (microseconds) and `used` are by hour.

    Sightings are in the order in which they were made. What was used in an hour that is closed already came late: it
    counts in the first that is open.
    """

    sightings: Sequence[Sighting] = ()
    busy: dict[int, int] = field(default_factory=dict)
    used: dict[int, dict[Account, Used]] = field(default_factory=dict)

    def hours(self, calendar: Calendar) -> list[int]:
        """In which hours there is any."""
        seen = (calendar.hour_of(one.at // SECOND) for one in self.sightings)
        return sorted({*self.busy, *self.used, *seen})


def advance(
    position: Position, facts: Facts, until: int, *, calendar: Calendar, prices: Prices, rules: Rules
) -> Iterator[tuple[int, list[Charge]]]:
    """Charge hour after hour up to `until`, and move the position on; yields when each began, and its charges.

    What was used is to lie before `until`. Hours of one day in which it sleeps and nothing happens are charged as one.
    """
    facts = replace(facts, sightings=_in_order(facts.sightings))
    moments = [one.at for one in facts.sightings]
    hours = facts.hours(calendar)
    if position.until is None and not hours:
        return
    if position.until is not None and position.until > until // SECOND + DAY:
        _take_back(position, calendar.hour_of(until // SECOND - 1))
    begin, last = hours[0] if position.until is None else position.until, -(-until // SECOND)
    seen = first = 0  # what came late counts in the first hour
    while begin < last:
        following = hours[first] if first < len(hours) else None
        end = min(last, _end(begin, following, calendar, rests=_rests(position.carried)))
        behind = bisect_left(hours, end, first)
        stop = min(end * SECOND, until)
        past, seen = seen, max(seen, bisect_left(moments, stop))
        hour = Hour(
            begin * SECOND,
            stop,
            facts.sightings[past:seen],
            facts.sightings[seen] if seen < len(moments) else None,
            sum(facts.busy.get(at, 0) for at in hours[first:behind]),
            _added_up([facts.used[at] for at in hours[first:behind] if at in facts.used]),
        )
        charges, position.carried = close(position.carried, hour, prices, rules)
        if past < seen:
            position.last_transition = facts.sightings[seen - 1].number
        position.until = end
        yield begin, charges
        begin, first = end, behind


def _take_back(position: Position, begin: int) -> None:
    """Go on from an earlier hour: the clock was far ahead when later ones were closed.

    What was charged then stays. All that it stands for is moved, so that what it lasted on top of that is charged yet.
    """
    standing = position.carried.standing
    shift = standing.told - begin * SECOND
    ahead = tuple(one._replace(begin=one.begin - shift, end=one.end - shift) for one in standing.ahead)
    standing = replace(standing, since=standing.since - shift, told=begin * SECOND, ahead=ahead)
    position.carried = replace(position.carried, standing=standing)
    position.until = begin


def _in_order(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Where the clock was set back between two of them, the first can't have been later than the second."""
    ordered: list[Sighting] = []
    for one in reversed(sightings):
        late = bool(ordered) and one.at > ordered[-1].at
        ordered.append(replace(one, at=ordered[-1].at) if late else one)
    ordered.reverse()
    return ordered


def _rests(carried: Carried) -> bool:
    """Whether nothing but a new fact makes one hour differ from the next."""
    standing = carried.standing
    return carried.period is None and not standing.ahead and (standing.state is None or standing.state in ASLEEP)


def _end(begin: int, following: int | None, calendar: Calendar, *, rests: bool) -> int:
    """When the hour ends, or the day, where nothing happens in it. `following` is the next hour with facts."""
    end = calendar.next_hour(begin)
    if not rests or (following is not None and following < end):
        return end
    end = calendar.end_of_day(begin)
    return end if following is None else min(end, following)


def _added_up(used: Sequence[dict[Account, Used]]) -> dict[Account, Used]:
    if len(used) < 2:
        return used[0] if used else {}
    total: dict[Account, Used] = {}
    for one in used:
        for account, more in one.items():
            total[account] = total[account].plus(more) if account in total else more
    return total
