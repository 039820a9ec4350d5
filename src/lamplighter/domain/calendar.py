"""Hours and days of one time zone. Moments are whole seconds of Unix time; a day is a date such as 2026-11-21."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from lamplighter.errors import InvalidInput

HOUR = 3600


class Calendar:
    """An hour begins where the zone's clocks show a full one: so a day is made of whole hours, 23 to 25 of them."""

    def __init__(self, zone: str = "UTC") -> None:
        """Raises InvalidInput for a name that is not in the IANA time zone database."""
        self.name = zone
        self._zone = _zone(zone)

    def hour_of(self, at: int) -> int:
        """When the hour began that holds this moment."""
        return at - (at + self._offset(at)) % HOUR

    def next_hour(self, at: int) -> int:
        """When the next hour begins: after this moment."""
        return self.hour_of(at) + HOUR

    def day_of(self, at: int) -> date:
        """The day that holds this moment."""
        return _day(self._zone, at)

    def begin_of(self, day: date) -> int:
        """When a day begins: at midnight, or at the first moment after it where clocks leave that out."""
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp())
        while self.day_of(midnight) < day:  # clocks were put forward at midnight: it is not there
            midnight = self.next_hour(midnight)
        return midnight

    def end_of_day(self, at: int) -> int:
        """When the day ends that holds this moment."""
        return self.begin_of(self.day_of(at) + timedelta(days=1))

    def begins_month(self, at: int) -> bool:
        """Whether a month begins at this moment."""
        day = self.day_of(at)
        return day.day == 1 and self.begin_of(day) == at

    def moment(self, at: float) -> str:
        """A moment for people, as the zone's clocks show it: 2026-12-01 00:00 (UTC)."""
        return f"{datetime.fromtimestamp(at, self._zone):%Y-%m-%d %H:%M} ({self.name})"

    def _offset(self, at: int) -> int:
        return 0 if self._zone is UTC else _offset(self._zone, at)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        text = f"time_zone: {name!r} is no time zone; give an IANA name such as Europe/Berlin, or UTC."
        raise InvalidInput(text, field="time_zone") from None


@lru_cache(maxsize=4096)
def _offset(zone: tzinfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@lru_cache(maxsize=4096)
def _day(zone: tzinfo, at: int) -> date:
    return datetime.fromtimestamp(at, zone).date()
