"""Times of the week, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.cli.guard.schedule import DAYS, Schedule
from lamplighter.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC)


@pytest.mark.parametrize(
    ("text", "moment", "covered"),
    [
        ("mon-fri 08:00-18:00", "2026-11-20T08:00", True),  # a Friday
        ("mon-fri 08:00-18:00", "2026-11-20T17:59:59", True),
        ("mon-fri 08:00-18:00", "2026-11-20T18:00", False),
        ("mon-fri 08:00-18:00", "2026-11-20T07:59", False),
        ("mon-fri 08:00-18:00", "2026-11-21T12:00", False),
        ("MON,Wed 8:00-9:00", "2026-11-18T08:30", True),
        ("mon,wed 8:00-9:00", "2026-11-17T08:30", False),
        ("fri-mon 00:00-24:00", "2026-11-22T23:59", True),
        ("fri-mon 00:00-24:00", "2026-11-24T00:00", False),
        ("daily 22:00-06:00", "2026-11-22T23:00", True),
        ("daily 22:00-06:00", "2026-11-22T05:59", True),
        ("daily 22:00-06:00", "2026-11-22T06:00", False),
        ("fri 22:00-06:00", "2026-11-21T05:00", True),  # the night that Friday began
        ("fri 22:00-06:00", "2026-11-20T05:00", False),  # that one Thursday began
        ("sun 22:00-06:00", "2026-11-23T01:00", True),
        ("mon-fri@08:00-18:00", "2026-11-20T12:00", True),
    ],
)
def test_what_a_schedule_covers(text: str, moment: str, covered: bool) -> None:
    assert Schedule.of(text).covers(at(moment)) is covered


def test_a_schedule_goes_by_the_clocks_of_its_zone() -> None:
    schedule = Schedule.of("mon-fri 08:00-18:00 Europe/Berlin")
    assert schedule.covers(at("2026-11-20T07:30"))  # 08:30 there in winter
    assert not schedule.covers(at("2026-11-20T17:30"))
    assert schedule.covers(at("2026-07-03T06:30"))  # 08:30 there in summer
    assert Schedule.of("mon-fri@08:00-18:00@Europe/Berlin") == schedule


def test_the_days_on_which_clocks_are_set_keep_their_times() -> None:
    schedule = Schedule.of("sun 01:00-04:00 Europe/Berlin")
    assert schedule.covers(at("2026-10-25T03:59", BERLIN))
    assert not schedule.covers(at("2026-10-25T04:00", BERLIN))
    assert schedule.covers(at("2026-03-29T03:30", BERLIN))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "should be days, times"),
        ("mon-fri", "should be days, times"),
        ("mon 08:00-18:00 Europe/Berlin more", "should be days, times"),
        ("mo-fr 08:00-18:00", "'mo-fr' in"),
        ("mon- 08:00-18:00", "'mon-' in"),
        ("mon,, 08:00-18:00", "'' in"),
        ("mon 8-18", "are no times"),
        ("mon 08:60-18:00", "from 00:00 to 24:00"),
        ("mon 08:00-24:01", "from 00:00 to 24:00"),
        ("mon 24:00-08:00", "from 00:00 to 24:00"),
        ("mon 08:00-08:00", "the two times are the same"),
        ("mon 08:00-18:00 Mars/Base", "no time zone"),
        ("mon 08:00-18:00 ../../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_schedule_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match="schedule") as told:
        Schedule.of(text)
    assert said in told.value.message


@given(
    start=st.integers(0, 24 * 60 - 1),
    length=st.integers(1, 24 * 60 - 1),
    day=st.sampled_from(DAYS),
    minute=st.integers(0, 7 * 24 * 60 - 1),
)
def test_a_schedule_covers_exactly_its_stretch_of_the_week(start: int, length: int, day: str, minute: int) -> None:
    def clock(minutes: int) -> str:
        return f"{minutes // 60:02}:{minutes % 60:02}"

    end = (start + length) % (24 * 60)
    schedule = Schedule.of(f"{day} {clock(start)}-{clock(end)}")
    moment = datetime(2026, 11, 16, minute // 60 % 24, minute % 60, tzinfo=UTC).replace(day=16 + minute // (24 * 60))
    begins = DAYS.index(day) * 24 * 60 + start
    assert schedule.covers(moment) is ((minute - begins) % (7 * 24 * 60) < length)
