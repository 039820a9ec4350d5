"""What people are told of alarms, and how often. Pure; moments are Unix time, durations seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lamplighter.domain.alarms import Alarm, AlarmKind, Key, span

CALM = 120.0
"""How long an alarm must be gone until it counts as over (seconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message. `resolved` says that the alarm is over, `repeated` that it still stands. `at` is when it is sent."""

    alarm: Alarm
    at: float
    resolved: bool = False
    repeated: bool = False

    @property
    def title(self) -> str:
        """The same in a few words."""
        what = f"{self.alarm.endpoint}: {self.alarm.kind.value}"
        return f"{what} is over" if self.resolved else f"{what} still stands" if self.repeated else what

    @property
    def text(self) -> str:
        """What to tell people."""
        if not self.resolved:
            return self.alarm.whole
        return f"{self.title}, after {span(self.at - self.alarm.since)}. It was: {self.alarm.text}"


@dataclass(slots=True, kw_only=True)
class Case:
    """An alarm that was told. `told_at`: for the last time. `ended_at`: that it is over was told, then.

    `clear_since` is when it was seen to be gone, `calm` how long it has to stay so. `told` is the degree that people
    know of, `milder_since` when it was seen to be less bad than that.
    """

    alarm: Alarm
    told_at: float
    told: AlarmKind
    calm: float = CALM
    clear_since: float | None = None
    milder_since: float | None = None
    ended_at: float | None = None


class Bulletin:
    """Tells of each alarm once when it comes, every `repeat_every` while it stands, and once when it is over.

    One that comes and goes stands until it has been gone for a while: for longer each time that it came back soon. One
    that has degrees is told anew when it gets worse, at once, and when it has been milder for a while.
    """

    def __init__(self, *, repeat_every: float, cases: Iterable[Case] = ()) -> None:
        self.repeat_every = repeat_every
        self._cases = {case.alarm.key: case for case in cases}

    @property
    def cases(self) -> Sequence[Case]:
        """All that is remembered, by kind and endpoint."""
        return [self._cases[key] for key in sorted(self._cases)]

    @property
    def standing(self) -> Sequence[Case]:
        """Those that people believe to stand."""
        return [case for case in self.cases if case.ended_at is None]

    def news(self, found: Mapping[Key, Alarm], now: float) -> list[Notice]:
        """Take in which alarms stand now; tells what to send."""
        notices = [notice for alarm in found.values() if (notice := self._stands(alarm, now)) is not None]
        gone = [case for key, case in self._cases.items() if key not in found and case.ended_at is None]
        notices += [notice for case in gone if (notice := self._is_gone(case, now)) is not None]
        self._cases = {key: case for key, case in self._cases.items() if not self._is_history(case, now)}
        return notices

    def _stands(self, alarm: Alarm, now: float) -> Notice | None:
        case = self._cases.get(alarm.key)
        if case is None or case.ended_at is not None:
            calm = CALM if case is None else min(case.calm * 2, max(CALM, self.repeat_every))
            self._cases[alarm.key] = Case(alarm=alarm, told_at=now, told=alarm.kind, calm=calm)
            return Notice(alarm=alarm, at=now)
        case.alarm, case.clear_since = alarm, None
        if _has_changed(case, now):
            case.told, case.told_at, case.milder_since = alarm.kind, now, None
            return Notice(alarm=alarm, at=now)
        if not alarm.kind.repeats or now - case.told_at < self.repeat_every:
            return None
        case.told_at = now
        return Notice(alarm=alarm, at=now, repeated=True)

    @staticmethod
    def _is_gone(case: Case, now: float) -> Notice | None:
        if case.clear_since is None:
            case.clear_since = now
        if now - case.clear_since < case.calm:
            return None
        case.ended_at = now
        return Notice(alarm=case.alarm, at=now, resolved=True)

    def _is_history(self, case: Case, now: float) -> bool:
        """Whether it ended so long ago that its coming back would be a new story."""
        return case.ended_at is not None and now - case.ended_at >= self.repeat_every


def _has_changed(case: Case, now: float) -> bool:
    """Whether people have to learn that it is worse than they know, or for some time less bad."""
    degree, known = case.alarm.kind.degree, case.told.degree
    if degree >= known:
        case.milder_since = None
        return degree > known
    if case.milder_since is None:
        case.milder_since = now
    return now - case.milder_since >= CALM
