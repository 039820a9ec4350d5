"""`decide`: single decisions, and what holds over random histories of a simulated endpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamplighter.domain.endpoint import ASLEEP, BROKEN, STARTING, Policy, State
from lamplighter.domain.lifecycle import (
    SETTLE_TIME,
    Dismiss,
    Fail,
    GiveRoom,
    Look,
    Room,
    Sleep,
    TakeRoom,
    Update,
    Verb,
    View,
    Wait,
    Wake,
    backoff,
    decide,
    idle_deadline,
)

NOW = 1000.0
POLICY = Policy(idle_timeout=60, min_awake=10, wake_attempts=2, backoff_base=1, backoff_cap=8)


def view(**changes: Any) -> View:
    base = View(policy=POLICY, state=State.SCALED_TO_ZERO, look_at=NOW + 100, idle_since=NOW, awake_since=NOW)
    return dataclasses.replace(base, **changes)


def awake(**changes: Any) -> View:
    return view(**({"state": State.RUNNING, "ready": 1} | changes))


def test_nothing_is_decided_before_a_look_that_is_due() -> None:
    assert decide(view(look_at=NOW, waiting=1), NOW) == Look()


def test_nothing_is_woken_or_slept_while_the_state_is_unknown() -> None:
    assert decide(view(state=None, waiting=5, sleep_asked=True), NOW) == Wait(NOW + 100)


@pytest.mark.parametrize("demand", [{"waiting": 1}, {"called": True}, {"leases": 1}, {"wake_asked": True}])
def test_any_demand_wakes_what_is_asleep(demand: dict[str, Any]) -> None:
    assert decide(view(**demand), NOW) == Wake("demand")


def test_an_endpoint_without_demand_stays_asleep_and_gives_its_room_back() -> None:
    assert decide(view(), NOW) == GiveRoom()
    assert decide(view(room=Room.NONE), NOW) == Wait(NOW + 100)


def test_who_may_not_wake_is_dismissed_where_nothing_else_wants_it_awake() -> None:
    guests = {"bystanders": 2, "room": Room.NONE}
    assert decide(view(**guests), NOW) == Dismiss()
    assert decide(view(**guests, state=State.FAILED), NOW) == Dismiss()
    assert decide(view(**guests, state=State.INITIALIZING), NOW) == Wait(NOW + 100)
    assert decide(view(**guests, waiting=1), NOW) == TakeRoom()
    assert decide(awake(**guests, in_flight=1), NOW) == Wait(NOW + 60)
    gave_up = view(**guests, state=State.FAILED, leases=1, failures=2, retry_at=NOW + 2)
    assert decide(gave_up, NOW) == Fail()


def test_keep_warm_wakes_unless_an_operator_put_it_to_sleep() -> None:
    warm = dataclasses.replace(POLICY, keep_warm=True)
    assert decide(view(policy=warm), NOW) == Wake("demand")
    assert decide(view(policy=warm, stay_asleep=True, room=Room.NONE), NOW) == Wait(NOW + 100)


def test_a_wake_needs_room_first() -> None:
    assert decide(view(waiting=1, room=Room.NONE), NOW) == TakeRoom()
    assert decide(view(waiting=1, room=Room.QUEUED, room_look_at=NOW + 1), NOW) == Wait(NOW + 1)
    assert decide(view(waiting=1, room=Room.QUEUED, room_look_at=NOW), NOW) == TakeRoom()


def test_a_wake_under_way_is_not_repeated_until_it_counts_as_lost() -> None:
    begun = view(waiting=1, begun=Verb.WAKE, begun_at=NOW)
    assert decide(begun, NOW) == Wait(NOW + SETTLE_TIME)
    assert decide(begun, NOW + SETTLE_TIME) == Wake("demand")


def test_a_start_under_way_is_left_alone() -> None:
    assert decide(view(state=State.INITIALIZING, waiting=1), NOW) == Wait(NOW + 100)


def test_an_operator_can_stop_a_start_that_nobody_waits_for() -> None:
    assert decide(view(state=State.INITIALIZING, sleep_asked=True), NOW) == Sleep("asked for")
    assert decide(view(state=State.INITIALIZING, sleep_asked=True, waiting=1), NOW) == Wait(NOW + 100)


def test_an_idle_endpoint_sleeps_when_its_time_is_up_and_not_before() -> None:
    assert decide(awake(idle_since=NOW - 59, awake_since=NOW - 59), NOW) == Wait(NOW + 1)
    assert decide(awake(idle_since=NOW - 60, awake_since=NOW - 60), NOW) == Sleep("idle")


@pytest.mark.parametrize("hold", [{"in_flight": 1}, {"waiting": 1}, {"leases": 1}])
@pytest.mark.parametrize("wish", [{}, {"sleep_asked": True}, {"room_wanted": True}])
def test_nothing_that_is_used_is_put_to_sleep(hold: dict[str, Any], wish: dict[str, Any]) -> None:
    action = decide(awake(idle_since=0.0, awake_since=0.0, **hold, **wish), NOW)
    assert isinstance(action, Wait)


def test_with_a_request_in_flight_the_next_look_comes_when_it_could_have_idled_out() -> None:
    assert decide(awake(in_flight=1), NOW) == Wait(NOW + 60)
    assert decide(awake(in_flight=1, policy=Policy(idle_timeout=None)), NOW) == Wait(NOW + 100)


def test_min_awake_outlasts_idleness_and_the_need_of_others_but_not_an_operators_word() -> None:
    fresh = {"awake_since": NOW - 9, "idle_since": NOW - 9}
    assert decide(awake(room_wanted=True, **fresh), NOW) == Wait(NOW + 1)
    assert decide(awake(policy=dataclasses.replace(POLICY, idle_timeout=0), **fresh), NOW) == Wait(NOW + 1)
    assert decide(awake(sleep_asked=True, **fresh), NOW) == Sleep("asked for")


def test_never_and_keep_warm_have_no_idle_deadline() -> None:
    assert idle_deadline(awake(policy=Policy(idle_timeout=None))) is None
    assert idle_deadline(awake(policy=Policy(keep_warm=True))) is None
    assert decide(awake(policy=Policy(keep_warm=True), room_wanted=True, idle_since=0.0), NOW) == Wait(NOW + 100)


def test_a_failed_wake_is_tried_again_after_a_pause_while_waiters_hold() -> None:
    failed = view(state=State.FAILED, waiting=3, failures=1, retry_at=NOW + 2, room=Room.NONE)
    assert decide(failed, NOW) == Wait(NOW + 2)
    assert decide(failed, NOW + 2) == TakeRoom()


def test_enough_failures_or_a_lasting_one_fail_the_waiters() -> None:
    assert decide(view(state=State.FAILED, waiting=3, failures=2, retry_at=NOW + 2), NOW) == Fail()
    assert decide(view(state=State.FAILED, waiting=3, failures=1, permanent=True, retry_at=NOW + 2), NOW) == Fail()


def test_a_broken_endpoint_that_shall_sleep_is_not_woken_while_its_last_requests_end() -> None:
    ending = view(state=State.FAILED, sleep_asked=True, policy=dataclasses.replace(POLICY, keep_warm=True))
    assert decide(dataclasses.replace(ending, in_flight=1), NOW) == Wait(NOW + 100)
    assert decide(ending, NOW) == Sleep("asked for")


def test_after_the_pause_the_next_demand_gets_another_attempt() -> None:
    assert decide(view(state=State.FAILED, waiting=1, failures=5, retry_at=NOW), NOW) == Wake("another attempt")


def test_a_lost_replica_is_brought_back_while_the_endpoint_is_used() -> None:
    assert decide(awake(replicas=2, in_flight=1), NOW) == Wake("healing")
    assert decide(awake(replicas=2, in_flight=1, heal_at=NOW + 5), NOW) == Wait(NOW + 5)
    assert decide(awake(replicas=2), NOW) == Wait(NOW + 60)  # nobody uses it: it sleeps as it is


def test_what_is_lost_altogether_is_brought_back_only_for_somebody() -> None:
    assert decide(awake(ready=0, in_flight=1), NOW) == Wait(NOW + 60)
    assert decide(awake(ready=0, waiting=1), NOW) == Wake("healing")


def test_a_sleep_that_failed_is_tried_again_after_a_pause() -> None:
    idle = awake(idle_since=0.0, awake_since=0.0, sleep_retry_at=NOW + 3)
    assert decide(idle, NOW) == Wait(NOW + 3)
    assert decide(idle, NOW + 3) == Sleep("idle")


def test_a_sleep_that_is_never_confirmed_is_told_again() -> None:
    assert isinstance(decide(awake(begun=Verb.SLEEP, begun_at=NOW - SETTLE_TIME), NOW), Sleep)


def test_a_new_spec_waits_for_those_in_flight_but_not_for_those_who_wait() -> None:
    assert decide(awake(replacing=True, in_flight=1), NOW) == Wait(NOW + 60)
    assert decide(awake(replacing=True, waiting=4), NOW) == Sleep("a new specification")
    assert decide(view(replacing=True, waiting=4), NOW) == Update()


PAUSE = Sleep("paused", State.PAUSED)
NEVER_RESUMED = dataclasses.replace(POLICY, wake_paused=False)


@pytest.mark.parametrize("demand", [{"waiting": 1}, {"leases": 1}, {"policy": Policy(keep_warm=True)}, {}])
def test_nothing_is_demand_for_a_paused_endpoint(demand: dict[str, Any]) -> None:
    paused = view(paused=True, state=State.PAUSED, **demand)
    assert not paused.demand
    assert decide(paused, NOW) == GiveRoom()
    assert decide(dataclasses.replace(paused, room=Room.NONE), NOW) == Wait(NOW + 100)


@pytest.mark.parametrize(
    "state", [State.RUNNING, State.INITIALIZING, State.PENDING, State.FAILED, State.SCALED_TO_ZERO]
)
@pytest.mark.parametrize("hold", [{}, {"waiting": 3}, {"leases": 2}, {"replacing": True}])
def test_a_pause_begins_as_soon_as_nothing_is_in_flight(state: State, hold: dict[str, Any]) -> None:
    ready = 1 if state is State.RUNNING else 0
    paused = view(paused=True, state=state, ready=ready, **hold)
    first = Update() if hold.get("replacing") and state in ASLEEP else PAUSE
    assert decide(paused, NOW) == first
    if state not in ASLEEP:
        assert decide(dataclasses.replace(paused, in_flight=1), NOW) == Wait(NOW + 100)


def test_a_pause_that_failed_is_tried_again_after_a_pause_awake_or_asleep() -> None:
    for state in (State.RUNNING, State.SCALED_TO_ZERO):
        paused = view(paused=True, state=state, ready=1, sleep_retry_at=NOW + 3)
        assert decide(paused, NOW) == Wait(NOW + 3)
        assert decide(paused, NOW + 3) == PAUSE


def test_what_was_paused_elsewhere_is_woken_by_demand_if_the_policy_lets_it() -> None:
    assert decide(view(state=State.PAUSED, waiting=1), NOW) == Wake("demand")
    barred = view(state=State.PAUSED, waiting=1, leases=1, policy=NEVER_RESUMED, room=Room.NONE)
    assert decide(barred, NOW) == Wait(NOW + 100)
    assert decide(dataclasses.replace(barred, wake_asked=True, room=Room.HELD), NOW) == Wake("demand")
    assert decide(view(waiting=1, policy=NEVER_RESUMED), NOW) == Wake("demand"), "scaled to zero is not paused"


def test_going_idle_and_being_told_to_sleep_lead_where_the_policy_says() -> None:
    pausing = dataclasses.replace(POLICY, sleep_into=State.PAUSED)
    idle = awake(policy=pausing, idle_since=NOW - 60, awake_since=NOW - 60)
    assert decide(idle, NOW) == Sleep("idle", State.PAUSED)
    assert decide(awake(policy=pausing, sleep_asked=True), NOW) == Sleep("asked for", State.PAUSED)
    to_zero = awake(policy=pausing, sleep_asked=True, sleep_into=State.SCALED_TO_ZERO)
    assert decide(to_zero, NOW) == Sleep("asked for", State.SCALED_TO_ZERO)


def test_what_its_provider_puts_to_sleep_is_not_put_to_sleep_for_being_idle_but_for_all_else() -> None:
    left = dataclasses.replace(POLICY, slept_by_provider=True)
    idle = awake(policy=left, idle_since=0.0, awake_since=0.0)
    assert idle_deadline(idle) is None
    assert decide(idle, NOW) == Wait(NOW + 100)
    assert decide(dataclasses.replace(idle, sleep_asked=True), NOW) == Sleep("asked for")
    assert decide(dataclasses.replace(idle, room_wanted=True), NOW) == Sleep("room for another endpoint")
    assert decide(dataclasses.replace(idle, replacing=True), NOW) == Sleep("a new specification")
    assert decide(dataclasses.replace(idle, paused=True), NOW) == PAUSE


def test_a_paused_endpoint_is_scaled_to_zero_when_that_is_asked_for_unless_somebody_waits() -> None:
    asked = view(state=State.PAUSED, sleep_asked=True, sleep_into=State.SCALED_TO_ZERO)
    assert decide(asked, NOW) == Sleep("asked for", State.SCALED_TO_ZERO)
    assert decide(dataclasses.replace(asked, sleep_retry_at=NOW + 9), NOW) == Wait(NOW + 9)
    assert decide(dataclasses.replace(asked, waiting=1), NOW) == Wake("demand")
    plain = view(state=State.PAUSED, sleep_asked=True, room=Room.NONE)
    assert decide(plain, NOW) == Wait(NOW + 100), "any way of being asleep will do"


def test_what_a_failed_update_left_serving_is_awake() -> None:
    left = awake(state=State.UPDATE_FAILED, idle_since=NOW - 60, awake_since=NOW - 60)
    assert decide(left, NOW) == Sleep("idle")
    assert decide(dataclasses.replace(left, ready=0, waiting=1), NOW) == Wake("another attempt")


def test_a_provider_is_told_of_a_new_spec_before_anything_is_put_to_sleep_for_it() -> None:
    for state in (State.RUNNING, State.INITIALIZING, State.SCALED_TO_ZERO, State.PAUSED):
        untold = view(state=state, ready=1, untold=True, in_flight=1 if state is State.RUNNING else 0)
        assert decide(untold, NOW) == Update()
        assert decide(dataclasses.replace(untold, update_at=NOW + 5, room=Room.NONE), NOW) != Update()
    assert decide(view(replacing=True, waiting=1, update_at=NOW + 5), NOW) == Wait(NOW + 5)


def test_backoff_doubles_to_its_cap_and_jitter_spreads_the_upper_half() -> None:
    assert [backoff(POLICY, n, 1.0) for n in (1, 2, 3, 4, 5, 90)] == [1, 2, 4, 8, 8, 8]
    assert backoff(POLICY, 3, 0.0) == 2


# Random histories: a small model of a controller and its provider, driven by events in any order.


class World:
    """An endpoint at a provider that may refuse, lose or break anything, kept to what `decide` says."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.now = 0.0
        self.true = State.SCALED_TO_ZERO
        self.seen = State.SCALED_TO_ZERO
        self.begun: Verb | None = None
        self.begun_at = 0.0
        self.in_flight = self.waiting = self.leases = self.bystanders = 0
        self.called = False
        self.raised = self.served = self.failed = self.left = 0
        self.failures = 0
        self.retry_at = self.sleep_retry_at = self.idle_since = self.awake_since = 0.0
        self.sleep_asked = self.wake_asked = self.paused = False
        self.sleep_into: State | None = None
        self.into = State.SCALED_TO_ZERO
        self.refused = 0
        self.fresh = True
        self.script: list[str] = []

    def view(self) -> View:
        return View(
            policy=self.policy,
            state=self.seen,
            ready=1 if self.seen is State.RUNNING else 0,
            look_at=self.now if not self.fresh else self.now + 50,
            begun=self.begun,
            begun_at=self.begun_at,
            in_flight=self.in_flight,
            waiting=self.waiting,
            called=self.called,
            bystanders=self.bystanders,
            leases=self.leases,
            wake_asked=self.wake_asked,
            sleep_asked=self.sleep_asked,
            sleep_into=self.sleep_into,
            paused=self.paused,
            idle_since=self.idle_since,
            awake_since=self.awake_since,
            failures=self.failures,
            retry_at=self.retry_at,
            sleep_retry_at=self.sleep_retry_at,
        )

    def settle(self) -> None:
        """Do what is decided until it is to wait."""
        for _ in range(50):
            match decide(self.view(), self.now):
                case Look():
                    self.look()
                case Wake():
                    self.wake()
                case Sleep(_, into):
                    self.sleep(into)
                case Fail():
                    assert self.waiting or self.called or self.bystanders, "failing nobody"
                    self.failed += self.waiting + self.bystanders
                    self.waiting = self.bystanders = 0
                    self.called = False
                case Dismiss():
                    assert self.bystanders, "dismissing nobody"
                    assert not self.view().demand, "dismissed those for whom it comes up"
                    self.failed += self.bystanders
                    self.bystanders = 0
                case Wait(until):
                    assert until > self.now, "waiting for the past spins"
                    return
                case _:
                    return
        raise AssertionError("the controller spins")

    def look(self) -> None:
        self.fresh = True
        before, self.seen = self.seen, self.true
        if self.begun is Verb.WAKE and (self.true not in ASLEEP):
            self.begun = None
        if self.begun is Verb.SLEEP and (self.true in BROKEN or self.shows_sleep(before)):
            self.begun = None
        if self.seen is State.RUNNING and before is not State.RUNNING:
            self.awake_since = self.now
        if self.seen in BROKEN and before not in BROKEN:
            self.wake_failed()
        if self.seen in ASLEEP and self.sleep_into in (None, self.seen):
            self.sleep_asked, self.sleep_into = False, None
        if self.seen is State.RUNNING:
            self.wake_asked = self.called = False
        if self.view().barred:
            self.refuse()
        if self.seen is State.RUNNING and self.begun is None and not self.paused:
            self.served += self.waiting + self.bystanders
            self.in_flight += self.waiting + self.bystanders
            self.waiting = self.bystanders = 0

    def shows_sleep(self, before: State) -> bool:
        return self.true is self.into if before in ASLEEP else self.true in ASLEEP

    def refuse(self) -> None:
        """Tell those who wait that it is paused."""
        self.refused += self.waiting + self.bystanders
        self.waiting = self.bystanders = 0

    def wake_failed(self) -> None:
        self.failures += 1
        self.begun = None
        self.wake_asked = self.wake_asked and not self.view().given_up
        self.called = self.called and not self.view().given_up
        self.retry_at = self.now + backoff(self.policy, self.failures, 0.5)

    def wake(self) -> None:
        assert self.true is not State.RUNNING or self.seen is not State.RUNNING, "woke what is awake"
        assert self.begun is not Verb.SLEEP, "a wake while a sleep is under way"
        wished = self.wake_asked or self.called or self.policy.keep_warm
        assert self.waiting or self.leases or wished, "woke for nobody"
        assert not self.paused, "woke what is paused"
        if self.seen is State.PAUSED:
            assert self.policy.wake_paused or self.wake_asked, "a request resumed what it may not"
        self.sleep_asked, self.sleep_into = False, None
        if self.begun is Verb.WAKE:
            self.wake_failed()
            return
        fault = self.script.pop() if self.script else "none"
        if fault == "refuse":
            self.wake_failed()
            return
        self.begun, self.begun_at = Verb.WAKE, self.now
        if fault != "lose" and self.true is not State.RUNNING:
            self.true = State.INITIALIZING

    def sleep(self, into: State) -> None:
        assert not self.in_flight, "put to sleep with a request in flight"
        asleep = self.seen in ASLEEP  # and passes from one way of that to the other
        assert not self.waiting or self.begun is Verb.SLEEP or asleep, "put to sleep with a request waiting"
        assert into is State.PAUSED or not self.paused, "a pause ended scaled to zero"
        assert self.seen not in ASLEEP or self.seen is not into or self.begun is Verb.SLEEP, "slept what sleeps so"
        overdue = self.now >= self.begun_at + SETTLE_TIME  # then it counts as lost, and is no longer under way
        assert self.begun is not Verb.WAKE or overdue, "a sleep while a wake is under way"
        fault = self.script.pop() if self.script else "none"
        if fault == "refuse":
            self.sleep_retry_at = self.now + 1
            return
        self.begun, self.begun_at, self.into = Verb.SLEEP, self.now, into
        if fault != "lose":
            self.true = into

    def event(self, kind: str, amount: float) -> None:
        match kind:
            case "claim":
                self.raised += 1
                if self.view().barred:
                    self.refused += 1
                elif self.seen is State.RUNNING and self.begun is None:
                    self.in_flight += 1
                    self.served += 1
                else:
                    self.waiting += 1
            case "guest":  # may not wake it
                self.raised += 1
                if self.view().barred or not self.view().comes_up:
                    self.refused += 1
                elif self.seen is State.RUNNING and self.begun is None:
                    self.in_flight += 1
                    self.served += 1
                else:
                    self.bystanders += 1
            case "call" if self.seen is not State.RUNNING and not self.view().barred:
                self.called = self.called or not (self.view().given_up and self.now < self.retry_at)
            case "end" if self.in_flight:
                self.in_flight -= 1
                self.idle_since = self.now
            case "leave" if self.waiting:
                self.waiting -= 1
                self.left += 1
            case "lease":
                self.leases = 1 - self.leases
            case "ask sleep":
                self.say(sleep_asked=True, paused=self.paused)
            case "ask wake":
                self.say(wake_asked=True)
            case "pause":
                self.say(paused=True)
                self.leases = 0
                self.refuse()
            case "to zero":
                self.say(sleep_asked=True)
                self.sleep_into = State.SCALED_TO_ZERO
            case "paused elsewhere" if self.true not in BROKEN and not self.in_flight:
                self.true, self.fresh = State.PAUSED, False
            case "time":
                self.now += amount
                self.fresh = self.fresh and amount < 50
            case "ready" if self.true in STARTING:
                self.true, self.fresh = State.RUNNING, False
            case "break" if self.true in STARTING or self.true is State.RUNNING:
                self.true, self.fresh = State.FAILED, False
            case "fault":
                self.script = [*self.script, ["refuse", "lose"][int(amount) % 2]][:2]
            case _:
                pass

    def say(self, *, wake_asked: bool = False, sleep_asked: bool = False, paused: bool = False) -> None:
        """The last word counts."""
        self.wake_asked, self.sleep_asked, self.paused, self.sleep_into = wake_asked, sleep_asked, paused, None
        self.called = False


_EVENTS = st.sampled_from(
    [
        *("claim", "claim", "end", "end", "leave", "lease", "time", "time", "ready", "break", "fault"),
        *("guest", "call"),
        *("ask sleep", "ask wake", "pause", "to zero", "paused elsewhere"),
    ]
)
_POLICIES = st.builds(
    Policy,
    idle_timeout=st.sampled_from([0.0, 5.0, 60.0, None]),
    min_awake=st.sampled_from([0.0, 10.0]),
    keep_warm=st.booleans(),
    wake_attempts=st.integers(1, 3),
    sleep_into=st.sampled_from([State.SCALED_TO_ZERO, State.PAUSED]),
    slept_by_provider=st.booleans(),
    wake_paused=st.booleans(),
)


@given(_POLICIES, st.lists(st.tuples(_EVENTS, st.floats(0.1, 80)), max_size=60))
@settings(max_examples=500, deadline=None)
def test_over_any_history_no_verb_is_out_of_place_and_every_demand_ends(
    policy: Policy, events: list[tuple[str, float]]
) -> None:
    world = World(policy)
    for kind, amount in events:
        world.event(kind, amount)
        world.settle()
    world.script = []
    for _ in range(40):  # from here on the provider works: whoever still waits must end
        world.event("time", 60.0)
        world.settle()
        world.event("ready", 0)
        world.settle()
    assert world.waiting == world.bystanders == 0
    assert world.raised == world.served + world.failed + world.left + world.refused


@given(_POLICIES, st.lists(st.tuples(_EVENTS, st.floats(0.1, 80)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_over_any_history_what_is_paused_ends_paused_and_stays_so_whoever_comes(
    policy: Policy, events: list[tuple[str, float]]
) -> None:
    world = World(policy)
    for kind, amount in [*events, ("pause", 0.0)]:
        world.event(kind, amount)
        world.settle()
    world.script, world.in_flight = [], 0
    for kind in [*["time"] * 6, *["claim", "call", "guest", "lease", "time", "ready"] * 3]:
        world.event(kind, 60.0)
        world.settle()
    assert (world.true, world.waiting) == (State.PAUSED, 0)
    world.leases = 0
    for kind in ["to zero", *["time"] * 6]:
        world.event(kind, 60.0)
        world.settle()
    assert world.true is State.SCALED_TO_ZERO or policy.keep_warm


@given(_POLICIES, st.lists(st.tuples(_EVENTS, st.floats(0.1, 80)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_over_any_history_what_nobody_uses_sleeps_in_the_end(policy: Policy, events: list[tuple[str, float]]) -> None:
    world = World(dataclasses.replace(policy, keep_warm=False, idle_timeout=60.0, slept_by_provider=False))
    for kind, amount in events:
        world.event(kind, amount)
        world.settle()
    world.script, world.leases = [], 0
    for _ in range(60):
        world.event("ready", 0)
        world.settle()
        world.event("end", 0)
        world.event("time", 40.0)
        world.settle()
    assert world.in_flight or world.true in ASLEEP or world.true in BROKEN
