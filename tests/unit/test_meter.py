"""Latencies and statuses are counted on the way, in bounded room."""

import itertools
import math
import random

import pytest

from lamplighter.control import meter as meters
from lamplighter.control.meter import Meter
from lamplighter.domain.latency import EDGES, Histogram, bounds
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
    monkeypatch.setattr(meters, "MOST_SERIES", 3)
    meter = Meter(Kept())
    for number in range(10):
        meter.add(record(f"e{number}"))
    assert meter.of("e9").latency.count == 1
    assert meter.of("e6").latency.count == 0


def test_figures_are_kept_by_target_and_route_and_added_up_for_an_endpoint():
    meter = Meter(Kept())
    for model, waited in (("chat", 0.0), ("chat", 1.5), ("best", 0.5)):
        one = record()
        one.model, one.waited, one.tokens_in, one.tokens_out, one.attempts = model, waited, 3, 4, 2
        one.first_byte, one.bytes_in, one.bytes_out = 0.05, 10, 20
        meter.add(one)
    meter.add(record(status=503))
    by_model = {series.model: series.figures for series in meter.series()}
    assert (by_model["chat"].held, by_model["chat"].waited, by_model["chat"].tokens_in) == (1, 1.5, 6)
    assert by_model["chat"].answers == {(200, Outcome.SERVED): 2}
    whole = meter.of("chat")
    assert (whole.held, whole.waited, whole.tokens_out, whole.attempts) == (2, 2.0, 12, 7)
    assert (whole.bytes_in, whole.bytes_out) == (30, 60)
    assert (whole.latency.count, whole.first_byte.count) == (4, 3)
    assert whole.statuses == {200: 3, 503: 1}


def test_what_is_counted_later_does_not_change_what_was_told():
    meter = Meter(Kept())
    meter.add(record(status=404))
    (told,) = meter.series()
    for status in (200, 404):
        meter.add(record(status=status))
    assert told.figures.answers == {(404, Outcome.SERVED): 1}
    assert told.figures.latency.count == 1


def test_coarse_buckets_hold_what_the_fine_ones_do():
    dice, histogram = random.Random(7), Histogram()
    values = [dice.lognormvariate(0, 3) for _ in range(2000)] + [0.0, 1e9]
    for value in values:
        histogram.add(value)
    assert histogram.below() == [(edge, sum(value < edge for value in values)) for edge in (*EDGES, math.inf)]
