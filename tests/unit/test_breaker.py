"""A breaker leaves a failing target alone and finds out when it is well: single steps, and random histories."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamplighter.domain.breaker import NO_PROBE, Breaker, BreakerState
from lamplighter.domain.rolling import SLICES, Rolling
from lamplighter.domain.routing import BreakerPolicy

POLICY = BreakerPolicy(rate=0.5, least=4, window=10.0, pause=5.0, longest_pause=20.0, proofs=2)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.least):
        breaker.failed(at, NO_PROBE, jitter=0.0)
    return breaker


def state_of(breaker: Breaker) -> BreakerState:
    return breaker.state


def probe(breaker: Breaker, now: float) -> int:
    assert breaker.admits(now)
    begun = breaker.began(now)
    assert begun != NO_PROBE
    return begun


def test_it_opens_at_its_rate_and_not_before_there_were_enough() -> None:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(1.0, NO_PROBE, jitter=0.0)
    assert breaker.admits(1.0)
    breaker.failed(1.0, NO_PROBE, jitter=0.0)
    assert (breaker.state, breaker.is_closed, breaker.retry_at) == (BreakerState.OPEN, False, 6.0)
    assert not breaker.admits(5.9)


def test_it_opens_at_exactly_its_rate() -> None:
    breaker = Breaker(POLICY)
    for _ in range(10):
        breaker.succeeded(1.0, NO_PROBE)
    for _ in range(9):
        breaker.failed(1.0, NO_PROBE, jitter=0.0)
    assert breaker.is_closed
    breaker.failed(1.0, NO_PROBE, jitter=0.0)
    assert state_of(breaker) is BreakerState.OPEN


def test_below_its_rate_it_stays_closed() -> None:
    breaker = Breaker(POLICY)
    for _ in range(100):
        breaker.succeeded(1.0, NO_PROBE)
        breaker.succeeded(1.0, NO_PROBE)
        breaker.failed(1.0, NO_PROBE, jitter=0.0)
    assert state_of(breaker) is BreakerState.CLOSED


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker(POLICY)
    for second in range(0, 1000, 4):  # never more than three within ten seconds
        breaker.failed(float(second), NO_PROBE, jitter=0.0)
    assert breaker.is_closed


def test_after_the_pause_one_request_at_a_time_probes() -> None:
    breaker = opened()
    first = probe(breaker, 5.0)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert not breaker.admits(5.0)
    assert breaker.began(5.0) == NO_PROBE  # one that is sent all the same has no say
    breaker.succeeded(5.5, first)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    breaker.succeeded(6.0, probe(breaker, 5.5))
    assert breaker.is_closed
    assert state_of(breaker) is BreakerState.CLOSED


def test_a_closed_breaker_has_forgotten_why_it_opened() -> None:
    breaker = opened()
    for now in (5.0, 5.1):
        breaker.succeeded(now, probe(breaker, now))
    breaker.failed(5.2, NO_PROBE, jitter=0.0)
    assert breaker.is_closed


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_close() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(4):
        pauses.append(breaker.retry_at - now)
        now = breaker.retry_at
        breaker.failed(now, probe(breaker, now), jitter=0.0)
    assert pauses == [5.0, 10.0, 20.0, 20.0]
    now = breaker.retry_at
    for _ in range(POLICY.proofs):
        breaker.succeeded(now, probe(breaker, now))
    for _ in range(POLICY.least):
        breaker.failed(now, NO_PROBE, jitter=0.0)
    assert breaker.retry_at - now == 5.0


def test_a_failed_probe_counts_more_than_good_ones_before_it() -> None:
    breaker = opened()
    breaker.succeeded(5.0, probe(breaker, 5.0))
    breaker.failed(5.1, probe(breaker, 5.1), jitter=0.0)
    breaker.succeeded(15.1, probe(breaker, 15.1))
    assert state_of(breaker) is BreakerState.HALF_OPEN


def test_a_pause_is_up_to_a_fifth_shorter() -> None:
    assert Breaker(POLICY).retry_at == 0.0
    breaker = Breaker(POLICY)
    for _ in range(POLICY.least):
        breaker.failed(0.0, NO_PROBE, jitter=1.0)
    assert breaker.retry_at == pytest.approx(4.0)


def test_what_began_before_it_opened_tells_nothing_about_now() -> None:
    breaker = opened()
    breaker.failed(1.0, NO_PROBE, jitter=0.0)
    assert breaker.retry_at == 5.0
    current = probe(breaker, 5.0)
    breaker.failed(5.1, NO_PROBE, jitter=0.0)
    breaker.succeeded(5.1, NO_PROBE)
    breaker.succeeded(5.1, NO_PROBE)
    breaker.abandoned(NO_PROBE)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert not breaker.admits(5.2)
    breaker.failed(5.3, current, jitter=0.0)
    assert state_of(breaker) is BreakerState.OPEN


def test_a_probe_that_tells_nothing_gives_its_place_back() -> None:
    breaker = opened()
    breaker.abandoned(probe(breaker, 5.0))
    assert breaker.admits(5.0)


def test_a_probe_that_never_ends_holds_up_the_next_no_longer_than_the_longest_pause() -> None:
    breaker = opened()
    lost = probe(breaker, 5.0)
    assert not breaker.admits(24.9)
    current = probe(breaker, 25.0)
    breaker.failed(25.1, lost, jitter=0.0)
    breaker.abandoned(lost)
    assert not breaker.admits(25.2)
    breaker.succeeded(25.3, current)
    assert breaker.admits(25.3)


@dataclass
class Reference:
    """The same rules, written down slowly: everything that ever happened is kept, and looked through each time."""

    policy: BreakerPolicy
    ends: list[tuple[float, bool]] = field(default_factory=list)
    """When attempts ended since it was last closed, and whether well."""
    openings: list[tuple[float, float]] = field(default_factory=list)
    """Since it was last closed: when it opened, and for how long."""
    probes: list[float] = field(default_factory=list)
    current: int | None = None
    proofs: int = 0

    @property
    def state(self) -> BreakerState:
        if not self.openings:
            return BreakerState.CLOSED
        opened_at, pause = self.openings[-1]
        probed = any(began >= opened_at + pause for began in self.probes)
        return BreakerState.HALF_OPEN if probed else BreakerState.OPEN

    def admits(self, now: float) -> bool:
        if not self.openings:
            return True
        busy = self.current is not None and now < self.probes[self.current] + self.policy.longest_pause
        return now >= sum(self.openings[-1]) and not busy

    def began(self, now: float) -> int | None:
        if not self.openings or not self.admits(now):
            return None
        self.probes.append(now)
        self.current = len(self.probes) - 1
        return self.current

    def ended(self, now: float, token: int | None, well: bool, jitter: float) -> None:
        if not self.openings:
            self.ends.append((now, well))
            recent = [good for at, good in self.ends if floor(at) > floor(now) - SLICES]
            failures = recent.count(False)
            if not well and len(recent) >= self.policy.least and failures / len(recent) >= self.policy.rate:
                self.open(now, jitter)
        elif token is not None and token == self.current:
            self.current = None
            self.proofs = self.proofs + 1 if well else 0
            if not well:
                self.open(now, jitter)
            elif self.proofs == self.policy.proofs:
                self.openings, self.ends, self.proofs = [], [], 0

    def open(self, now: float, jitter: float) -> None:
        pause = min(self.policy.pause * 2 ** len(self.openings), self.policy.longest_pause)
        self.openings.append((now, pause * (1 - jitter / 5)))
        self.proofs = 0

    def abandoned(self, token: int | None) -> None:
        if token is not None and token == self.current:
            self.current = None


quarters = st.sampled_from([0.0, 0.0, 0.0, 0.25, 1.0, 4.75, 30.0])  # in binary: sums of them are exact
ends = st.sampled_from(["well", "badly", "badly", "abandoned"])
steps = st.lists(st.tuples(quarters, st.booleans(), ends, st.integers(0, 3)), max_size=120)


@given(steps, st.sampled_from([0.0, 1.0]))
@settings(max_examples=300, deadline=None)
def test_over_any_history_it_does_what_the_rules_say(
    history: list[tuple[float, bool, str, int]], jitter: float
) -> None:
    breaker, reference, now = Breaker(POLICY), Reference(POLICY), 0.0
    in_flight: list[tuple[int, int | None]] = []
    for wait, begins, end, which in history:
        now += wait
        assert breaker.admits(now) == reference.admits(now)
        if begins:
            in_flight.append((breaker.began(now), reference.began(now)))
        elif in_flight:
            mine, its = in_flight.pop(which % len(in_flight))
            if end == "abandoned":
                breaker.abandoned(mine)
                reference.abandoned(its)
            elif end == "well":
                breaker.succeeded(now, mine)
                reference.ended(now, its, well=True, jitter=jitter)
            else:
                breaker.failed(now, mine, jitter=jitter)
                reference.ended(now, its, well=False, jitter=jitter)
        assert breaker.state is reference.state
        assert breaker.is_closed == (breaker.state is BreakerState.CLOSED)
        if reference.openings:
            assert breaker.retry_at == pytest.approx(sum(reference.openings[-1]))


@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0, 9.0, 10.0, 1e6]), max_size=200))
def test_a_window_counts_what_is_younger_than_nine_tenths_of_it_and_nothing_older_than_the_whole(
    waits: list[float],
) -> None:
    window, counted, now = Rolling(10.0), list[float](), 1e5
    for wait in waits:
        now += wait
        window.count(now)
        counted.append(now)
        ages = [now - at for at in counted]
        assert sum(age <= 9.0 for age in ages) <= window.total(now) <= sum(age < 10.0 for age in ages)


def test_time_that_goes_back_counts_as_the_latest() -> None:
    window = Rolling(10.0)
    window.count(100.0)
    window.count(50.0)
    assert window.total(50.0) == window.total(100.0) == 2
    assert window.total(110.0) == 0
