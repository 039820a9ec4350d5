"""Times of the week in which an endpoint is wanted, as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lamplighter.errors import InvalidInput

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = frozenset(range(7))
_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_RIGHT = "one looks like 'mon-fri 08:00-18:00 Europe/Berlin', or 'sat,sun 22:00-06:00' for UTC"


@dataclass(frozen=True, slots=True)
class Schedule:
    """From `start` until `end` on each of `days` (0 is Monday), by the clocks of `zone`.

    `end` at or before `start` lies on the following day; minutes count from midnight, so that 24:00 can be said.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: tzinfo
    text: str

    @classmethod
    def of(cls, text: str) -> Schedule:
        """Read `DAYS FROM-TO [ZONE]`, with spaces or `@` between the parts. Raises InvalidInput."""
        parts = text.replace("@", " ").split()
        if len(parts) not in (2, 3):
            raise InvalidInput(f"schedule: {text!r} should be days, times, and a time zone if it is not UTC; {_RIGHT}")
        start, end = _times(parts[1], text)
        return cls(_days(parts[0], text), start, end, _zone(parts[2], text) if parts[2:] else UTC, " ".join(parts))

    def covers(self, moment: datetime) -> bool:
        """Whether it holds at a moment, which has to know its time zone."""
        local = moment.astimezone(self.zone)
        return any(self._begins(local - timedelta(days=back), local) for back in (0, 1))

    def _begins(self, day: datetime, local: datetime) -> bool:
        """Whether the stretch that begins on `day` covers `local`."""
        if day.weekday() not in self.days:
            return False
        midnight = datetime.combine(day.date(), time())
        until = self.end if self.end > self.start else self.end + 24 * 60
        # Wall clocks are compared: on the days on which they are set, 08:00 stays 08:00.
        wall = local.replace(tzinfo=None)
        return midnight + timedelta(minutes=self.start) <= wall < midnight + timedelta(minutes=until)


def _days(text: str, whole: str) -> frozenset[int]:
    if text.lower() in {"daily", "*"}:
        return _EVERY_DAY
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise InvalidInput(f"schedule: {part!r} in {whole!r} is no day; the days are {' '.join(DAYS)}, or daily")
        begin, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7
        days |= {(begin + step) % 7 for step in range(length + 1)}
    return frozenset(days)


def _times(text: str, whole: str) -> tuple[int, int]:
    match = _TIMES.fullmatch(text)
    if not match:
        raise InvalidInput(f"schedule: {text!r} in {whole!r} are no times; {_RIGHT}")
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    wrong = int(match[2]) > 59 or int(match[4]) > 59 or start >= 24 * 60 or end > 24 * 60
    if wrong or start == end:
        why = "the two times are the same" if start == end and not wrong else "times go from 00:00 to 24:00"
        raise InvalidInput(f"schedule: {text!r} in {whole!r}: {why}; {_RIGHT}")
    return start, end


def _zone(text: str, whole: str) -> tzinfo:
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            f"schedule: {text!r} in {whole!r} is no time zone that this machine knows; one is Europe/Berlin"
        ) from error
