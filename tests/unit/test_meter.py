"""Latencies and statuses are counted on the way, in bounded room."""

import itertools
import random

import pytest

from lamplighter.control import meter as meters
from lamplighter.control.meter import Meter
from lamplighter.domain.latency import Histogram, bounds
from lamplighter.domain.usage import Outcome, UsageRecord


def record(endpoint: str = "chat", status: int = 200, duration: float = 0.1) -> UsageRecord:
    return UsageRecord(
        endpoint=endpoint,
        at=1.0,
        route="/v1/x",
        status=status,
        outcome=Outcome.SERVED,
        waited=0.0,
        duration=duration,
        bytes_in=0,
        bytes_out=0,
    )


class Kept:
    def __init__(self) -> None:
        self.all: list[UsageRecord] = []

    def add(self, record: UsageRecord) -> None:
        self.all.append(record)


def test_quantiles_are_near_the_true_ones():
    dice = random.Random(7)
    for scale in (0.001, 1.0, 60.0):
        histogram, truth = Histogram(), sorted(dice.lognormvariate(0, 1) * scale for _ in range(5000))
        for value in truth:
            histogram.add(value)
        for share, found in zip((0.5, 0.9, 0.95, 0.99), histogram.quantiles(), strict=True):
            assert found == pytest.approx(truth[int(share * 5000) - 1], rel=0.13)
        assert histogram.count == 5000
        assert histogram.total == pytest.approx(sum(truth))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-12, 6.8e-5, 7e-5, 0.5, 1.0, 8191.0, 8192.0, 1e9])
def test_every_duration_has_its_bucket(seconds):
    histogram = Histogram()
    histogram.add(seconds)
    index = histogram.buckets.index(1)
    assert index in {0, len(histogram.buckets) - 1} or bounds(index) <= seconds < bounds(index + 1)


def test_buckets_touch_each_other_and_grow():
    edges = [bounds(index) for index in range(len(Histogram().buckets) + 1)]
    assert edges == sorted(edges)
    assert all(after / before < 1.126 for before, after in itertools.pairwise(edges[1:]))


def test_nothing_counted_has_no_quantiles():
    assert Histogram().quantiles() == [None] * 4


def test_records_are_counted_and_passed_on():
    kept = Kept()
    meter = Meter(kept)
    for status in (200, 200, 503):
        meter.add(record(status=status))
    assert len(kept.all) == 3
    assert meter.of("chat").statuses == {200: 2, 503: 1}
    assert meter.of("chat").latency.count == 3
    assert meter.of("nobody").latency.count == 0


def test_odd_statuses_share_one_counter():
    meter = Meter(Kept())
    for status in (0, 99, 600, 999, 200):
        meter.add(record(status=status))
    assert meter.of("chat").statuses == {0: 4, 200: 1}


def test_endpoints_that_come_and_go_take_no_room_for_ever(monkeypatch):
    monkeypatch.setattr(meters, "MOST_ENDPOINTS", 3)
    meter = Meter(Kept())
    for number in range(10):
        meter.add(record(f"e{number}"))
    assert meter.of("e9").latency.count == 1
    assert meter.of("e6").latency.count == 0
