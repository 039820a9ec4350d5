import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.config.quantities import parse_duration, parse_size


@given(st.integers(0, 999), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_add_up(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("1h30m", 5400.0),
        ("1H 30M", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("250ms", 0.25),
        (0, 0.0),
    ],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["soon", "", "5 minutes", "-5", -5, "1h30", True, None, [], float("nan"), "inf", "1e3"]
)
def test_what_is_no_duration_is_refused_with_an_example(value):
    with pytest.raises(ValueError, match="15m"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1024, 1024),
        ("1024", 1024),
        ("64MB", 64_000_000),
        ("64 MiB", 64 * 2**20),
        ("1.5kb", 1500),
        ("2GiB", 2**31),
        ("7b", 7),
        ("1.1GB", 1_100_000_000),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("value", ["big", "64M", "1ib", -1, "0.5b", None, True, float("inf")])
def test_what_is_no_size_is_refused_with_an_example(value):
    with pytest.raises(ValueError, match="64MiB"):
        parse_size(value)
