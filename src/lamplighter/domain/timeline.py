"""How long an endpoint was in which state, from what was seen of it. Pure; moments and lengths in microseconds.

Between two sightings time is measured by a clock that nobody sets, where that is known, and by the wall clock else. A
stretch begins where the wall clock says, but never before the one before it has ended. So stretches have their true
lengths and never overlap: after the wall clock was set back they run ahead of it until a gap lets it catch up, after
it was set forward there is a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lamplighter.domain.endpoint import ASLEEP, State

SECOND = 1_000_000
"""Microseconds in a second."""


def micros(seconds: float) -> int:
    """Seconds, or a moment in Unix time, as whole microseconds."""
    return round(seconds * SECOND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A transition as the ledger reads it; see `Transition`. `number` is that of its row: later ones have higher ones.

    `lasted` None: nobody knows how long the state before it had lasted. `seen_until` tells until when it had certainly.
    """

    number: int
    at: int
    before: State | None
    after: State | None
    lasted: int | None = None
    replicas: int = 1
    provider: str = ""
    cause: str = ""
    route: str = ""
    seen_until: int | None = None

    @property
    def finds_asleep(self) -> bool:
        """Whether it was found asleep, or gone, after a time in which nobody looked."""
        return self.lasted is None and (self.after is None or self.after in ASLEEP)


class Stretch(NamedTuple):
    """A time in one state (None: gone, or unknown). `estimated`: nobody looked, and it was found asleep afterwards."""

    begin: int
    end: int
    state: State | None
    replicas: int
    provider: str
    cause: str
    route: str
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """The state that an endpoint is in (None: unknown, or gone) since a moment, told up to another one.

    `ahead` are stretches that lie behind the moment up to which was asked.
    """

    state: State | None = None
    since: int = 0
    told: int = 0
    replicas: int = 1
    provider: str = ""
    cause: str = ""
    route: str = ""
    ahead: tuple[Stretch, ...] = ()


def follow(
    standing: Standing, sightings: Iterable[Sighting], until: int, upcoming: Sighting | None = None
) -> tuple[list[Stretch], Standing]:
    """Tell the stretches up to `until`, in order, and how it stands then.

    `sightings` are those before `until`, in the order in which they were made; `upcoming` is the next one, where it is
    known already. A state that nothing has ended lasts until then.
    """
    stretches = list(standing.ahead)
    for sighting in sightings:
        stretches += _left(standing, sighting)
        standing = _entered(standing, sighting)
    if standing.told < until:
        stretches += _open(standing, until, upcoming)
    before, ahead = _cut(stretches, until)
    return before, _told(standing, max(standing.told, until), tuple(ahead))


def _left(standing: Standing, sighting: Sighting) -> Iterator[Stretch]:
    """The stretches that a sighting ends."""
    begin, end = standing.told, max(standing.told, _end(standing, sighting))
    lasted, before = sighting.lasted, sighting.before
    if lasted is not None and before is not None and before is not standing.state:
        changed = min(end, max(begin, sighting.at - lasted))  # what came between was lost
        yield from _open(standing, changed, None)
        yield _stretch(standing, changed, end, before)
    elif lasted is None:
        yield from _open(standing, end, sighting)
    else:
        yield _stretch(standing, begin, end, standing.state)


def _open(standing: Standing, until: int, upcoming: Sighting | None) -> Iterator[Stretch]:
    """What goes on up to `until`, or up to where `upcoming` tells that it had ended.

    What that finds asleep is certain only as long as somebody looked.
    """
    state, begin = standing.state, standing.told
    if upcoming is not None and state is not None and upcoming.lasted is not None and upcoming.before is state:
        until = min(until, max(begin, standing.since + upcoming.lasted))
    if upcoming is None or not upcoming.finds_asleep or state is None or state in ASLEEP:
        yield _stretch(standing, begin, until, state)
        return
    seen = standing.since if upcoming.seen_until is None else upcoming.seen_until
    certain = min(until, max(begin, seen))
    yield _stretch(standing, begin, certain, state)
    if certain == until:
        return
    if upcoming.after is None:
        yield _stretch(standing, certain, until, None)
    else:
        yield _stretch(standing, certain, until, state)._replace(estimated=True)


def _end(standing: Standing, sighting: Sighting) -> int:
    """When the state that was left had ended."""
    if sighting.lasted is not None and sighting.before is standing.state:
        return standing.since + sighting.lasted
    return sighting.at


def _entered(standing: Standing, sighting: Sighting) -> Standing:
    end = _end(standing, sighting)
    since = max(end, sighting.at)
    return Standing(
        state=sighting.after,
        since=since,
        told=max(standing.told, since),
        replicas=sighting.replicas,
        provider=sighting.provider or standing.provider,
        cause=sighting.cause,
        route=sighting.route,
    )


def _told(standing: Standing, until: int, ahead: tuple[Stretch, ...]) -> Standing:
    one = standing
    return Standing(one.state, one.since, until, one.replicas, one.provider, one.cause, one.route, ahead)


def _stretch(standing: Standing, begin: int, end: int, state: State | None) -> Stretch:
    return Stretch(begin, end, state, standing.replicas, standing.provider, standing.cause, standing.route)


def _cut(stretches: list[Stretch], at: int) -> tuple[list[Stretch], list[Stretch]]:
    """Divide stretches into those before a moment and those behind it."""
    if not stretches or stretches[-1].end <= at:
        return stretches, []
    before = [one if one.end <= at else one._replace(end=at) for one in stretches if one.begin < at]
    behind = [
        one if one.begin >= at else one._replace(begin=at) for one in stretches if max(one.end, one.begin + 1) > at
    ]
    return before, behind
