"""The gate: slots, the order of those who wait, nobody lost, and replicas that answer badly."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamplighter.control.clock import Clock
from lamplighter.control.demand import Caller
from lamplighter.control.gate import ActiveClaim, Gate
from lamplighter.domain.endpoint import Replica
from lamplighter.errors import QueueFull, Unavailable
from tests.virtual_time import VirtualLoop, virtual

REPLICAS = tuple(Replica(id=str(number), url=f"http://127.0.0.1:{number}") for number in range(1, 6))


class Stage:
    def __init__(self, replicas: int = 1, **given: Any) -> None:
        options: dict[str, Any] = {"max_waiting": 10_000, "jitter": lambda: 0.0} | given
        self.demands = self.quiets = self.suspicions = 0
        self.outliers: list[tuple[str, float]] = []
        self.gate = Gate(
            Clock(),
            **options,
            on_demand=self._demanded,
            on_quiet=self._quiet,
            on_suspicion=self._suspected,
            on_outlier=lambda replica, seconds: self.outliers.append((replica.id, seconds)),
        )
        self.tasks: list[asyncio.Task[ActiveClaim]] = []
        self.open(replicas)

    def open(self, replicas: int) -> None:
        if replicas:
            self.gate.open_to(REPLICAS[:replicas])

    def come(self, key: str = "", priority: int = 0, *, may_wake: bool = True) -> asyncio.Task[ActiveClaim]:
        caller = Caller(key=key, priority=priority, may_wake=may_wake)
        task = asyncio.create_task(self.gate.claim(caller))
        self.tasks.append(task)
        return task

    def take(self) -> ActiveClaim:
        claim = self.gate.try_claim()
        assert claim is not None
        return claim

    def replicas(self, count: int) -> list[str]:
        """Where that many requests go."""
        claims = [self.take() for _ in range(count)]
        ids = [claim.replica.id for claim in claims]
        for claim in claims:
            claim.release()
        return ids

    def _demanded(self) -> None:
        self.demands += 1

    def _quiet(self) -> None:
        self.quiets += 1

    def _suspected(self) -> None:
        self.suspicions += 1


async def ticks(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# Slots.


@virtual
async def test_with_every_slot_taken_nobody_is_let_through_until_a_claim_ends_and_then_one() -> None:
    s = Stage(replicas=2, concurrency=2)
    claims = [s.take() for _ in range(4)]
    assert Counter(claim.replica.id for claim in claims) == {"1": 2, "2": 2}
    assert s.gate.try_claim() is None
    assert (s.gate.is_open, s.gate.is_busy, s.gate.slots) == (True, True, 4)
    waiting = [s.come() for _ in range(3)]
    await ticks()
    assert s.gate.waiting == 3
    claims[3].release()
    await ticks()
    assert [task.done() for task in waiting] == [True, False, False]
    assert waiting[0].result().replica.id == claims[3].replica.id
    assert s.gate.try_claim() is None, "the slot went to who waited"


@virtual
async def test_a_gate_that_opens_lets_through_as_many_as_there_are_slots_spread_over_the_replicas() -> None:
    s = Stage(replicas=0, concurrency=2)
    waiting = [s.come() for _ in range(9)]
    await ticks()
    assert (s.demands, s.gate.waiting) == (9, 9)
    s.open(3)
    await ticks()
    assert Counter(task.result().replica.id for task in waiting if task.done()) == {"1": 2, "2": 2, "3": 2}
    assert s.gate.waiting == 3


@virtual
async def test_waiting_for_a_slot_raises_no_demand() -> None:
    s = Stage(concurrency=1)
    s.take()
    s.come()
    await ticks()
    assert (s.demands, s.gate.waiting) == (0, 1)


@virtual
async def test_what_is_in_flight_counts_over_a_gate_that_shuts_and_opens() -> None:
    s = Stage(concurrency=2)
    claims = [s.take(), s.take()]
    s.gate.shut()
    assert s.gate.try_claim() is None
    s.open(1)
    assert s.gate.try_claim() is None
    claims[0].release()
    s.take()
    assert s.gate.try_claim() is None


@virtual
async def test_a_new_bound_counts_at_once() -> None:
    s = Stage(concurrency=1)
    s.take()
    waiting = [s.come() for _ in range(4)]
    await ticks()
    s.gate.bound(max_waiting=10, concurrency=3)
    await ticks()
    assert sum(task.done() for task in waiting) == 2
    s.gate.bound(max_waiting=10, concurrency=None)
    await ticks()
    assert all(task.done() for task in waiting)
    s.gate.bound(max_waiting=10, concurrency=2)
    assert s.gate.try_claim() is None


@virtual
async def test_a_question_about_the_endpoint_takes_no_slot_and_is_let_through_where_all_are_taken() -> None:
    s = Stage(concurrency=1)
    s.take()
    probe = await s.gate.await_open()
    assert s.gate.in_flight == 2
    before = s.gate.last_activity
    probe.release()
    assert s.gate.last_activity is before


@virtual
async def test_a_question_that_is_being_answered_leaves_the_only_slot_to_a_request() -> None:
    s = Stage(concurrency=1)
    probes = [await s.gate.await_open(), s.take()]
    probes[1].uncount()
    request = s.take()
    assert s.gate.try_claim() is None
    assert s.gate.in_flight == 3, "a sleep has to wait for all of them"
    for probe in probes:
        probe.release()
    assert s.gate.try_claim() is None, "the end of a question frees no slot of somebody else"
    request.release()
    assert s.gate.in_flight == 0
    s.take()


@virtual
async def test_questions_that_waited_for_the_gate_leave_the_only_slot_to_a_request() -> None:
    s = Stage(replicas=0, concurrency=1)
    probes = [asyncio.create_task(s.gate.await_open()) for _ in range(2)]
    await ticks()
    s.open(1)
    request = s.take()
    for probe in probes:
        (await probe).release()
    assert s.gate.in_flight == 1
    request.release()


@virtual
async def test_a_slot_that_is_not_needed_goes_to_who_waits_at_once_and_only_once() -> None:
    s = Stage(concurrency=1)
    probe = s.take()
    waiting = [s.come() for _ in range(2)]
    await ticks()
    probe.uncount()
    probe.uncount()
    await ticks()
    assert [task.done() for task in waiting] == [True, False]
    probe.release()
    probe.uncount()
    await ticks()
    assert not waiting[1].done()
    waiting[0].result().release()
    waiting[0].result().uncount()
    assert (await waiting[1]).replica.id == "1"
    assert s.gate.try_claim() is None


@virtual
async def test_the_end_of_a_question_tells_nothing_of_how_fast_slots_get_free() -> None:
    s = Stage(concurrency=1)
    s.take()
    s.come()
    await asyncio.sleep(30)
    for _ in range(10):
        (await s.gate.await_open()).release()
    assert s.gate.expected_wait() == pytest.approx(2 * 30)


@virtual
async def test_a_replica_that_comes_up_serves_those_who_wait_for_a_slot() -> None:
    s = Stage(concurrency=1)
    s.take()
    waiting = [s.come() for _ in range(2)]
    await ticks()
    s.open(2)
    await ticks()
    assert [task.done() for task in waiting] == [True, False]
    assert waiting[0].result().replica.id == "2"


@virtual
async def test_the_wait_for_a_slot_is_told_from_how_fast_requests_end() -> None:
    s = Stage(concurrency=2)
    assert s.gate.expected_wait() == 0.0
    running = [s.take(), s.take()]
    assert s.gate.expected_wait() == 1.0, "nothing was measured"
    waiting = [s.come() for _ in range(12)]
    await ticks()
    for _ in range(8):
        await asyncio.sleep(3)
        running.pop(0).release()
        await ticks()
        running = [*running, *(task.result() for task in waiting if task.done())]
        waiting = [task for task in waiting if not task.done()]
    assert s.gate.waiting == 4
    assert s.gate.expected_wait() == pytest.approx(5 * 3, rel=0.01)


@virtual
async def test_with_one_watching_the_end_of_the_last_is_told_also_where_others_waited() -> None:
    s = Stage(concurrency=1)
    s.gate.watched = True
    first = s.take()
    second = s.come()
    await ticks()
    first.release()
    assert s.quiets == 0
    (await second).release()
    assert s.quiets == 1


# The order of those who wait.


@virtual
async def test_who_waits_is_let_through_by_priority_and_then_key_after_key() -> None:
    s = Stage(concurrency=1)
    running = s.take()
    order: list[str] = []

    async def ask(key: str, priority: int) -> None:
        claim = await s.gate.claim(Caller(key=key, priority=priority))
        order.append(key)
        claim.release()

    keys = [*["greedy"] * 5, "modest", *["greedy"] * 2]
    tasks = [asyncio.create_task(ask(key, 0)) for key in keys]
    tasks += [asyncio.create_task(ask(key, 9)) for key in ("urgent", "urgent")]
    await ticks()
    running.release()
    await asyncio.gather(*tasks)
    assert order == ["urgent", "urgent", "greedy", "modest", *["greedy"] * 6]


@virtual
@pytest.mark.parametrize(("bound", "told"), [(1, "1 request is waiting already"), (2, "2 requests are waiting")])
async def test_a_full_queue_says_how_many_wait(bound: int, told: str) -> None:
    s = Stage(replicas=0, max_waiting=bound)
    waiting = [s.come("some") for _ in range(bound)]
    await ticks()
    with pytest.raises(QueueFull, match=told):
        await s.come("some")
    s.open(bound)
    for one in waiting:
        (await one).release()


@virtual
async def test_a_full_queue_takes_one_of_another_key_in_the_place_of_the_greedy_ones_last() -> None:
    s = Stage(replicas=0, max_waiting=3)
    greedy = [s.come("greedy") for _ in range(3)]
    await ticks()
    with pytest.raises(QueueFull):
        await s.come("greedy")
    modest = s.come("modest")
    with pytest.raises(QueueFull):
        await greedy[2]
    assert s.gate.waiting == 3
    s.open(1)
    for task in (*greedy[:2], modest):
        (await task).release()
    assert (s.gate.in_flight, s.gate.held) == (0, 0)


@virtual
async def test_who_waits_no_longer_takes_no_place() -> None:
    s = Stage(replicas=0, max_waiting=2)
    for _ in range(3):
        pair = [s.come(), s.come(may_wake=False)]
        await ticks()
        assert (s.gate.waiting, s.gate.bystanders) == (1, 1)
        for task in pair:
            task.cancel()
        await ticks()
        assert s.gate.held == 0


@virtual
async def test_who_had_to_make_room_is_counted_no_more() -> None:
    s = Stage(replicas=0, max_waiting=2)
    guests = [s.come("greedy", may_wake=False) for _ in range(2)]
    await ticks()
    s.come("modest")
    with pytest.raises(QueueFull):
        await guests[1]
    assert (s.gate.waiting, s.gate.bystanders) == (1, 1)


@virtual
async def test_those_who_may_not_wake_are_counted_apart_and_can_be_told_apart() -> None:
    s = Stage(replicas=0)
    s.come()
    guest = s.come(may_wake=False)
    await ticks()
    assert (s.demands, s.gate.waiting, s.gate.bystanders, s.gate.held) == (1, 1, 1, 2)
    assert s.gate.fail_bystanders(lambda _caller: Unavailable("no")) == 1
    with pytest.raises(Unavailable):
        await guest
    assert (s.gate.waiting, s.gate.bystanders) == (1, 0)


# Nobody is lost.

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("come", "come", "come", "guest", "probe", "end", "end", "end all", "end as all leave", "cancel"),
                *("open", "shut", "lose", "bad", "uncount", "bound", "fail guests", "time", "tick", "tick"),
            ]
        ),
        st.integers(0, 30),
    ),
    max_size=60,
)


class World:
    """Requests that come, go and end in any order, at a gate that opens and shuts."""

    def __init__(self, concurrency: int | None) -> None:
        self.s = Stage(replicas=0, max_waiting=4, concurrency=concurrency)
        self.held: list[ActiveClaim] = []
        self.outcomes: Counter[str] = Counter()
        self.replicas = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, caller: Caller, *, probe: bool) -> None:
        try:
            claim = await (self.s.gate.await_open() if probe else self.s.gate.claim(caller))
        except (QueueFull, Unavailable) as error:
            self.outcomes[type(error).__name__] += 1
        except asyncio.CancelledError:
            self.outcomes["cancelled"] += 1
            raise
        else:
            self.outcomes["served"] += 1
            self.held.append(claim)

    def come(self, number: int, *, may_wake: bool = True, probe: bool = False) -> None:
        caller = Caller(key="abc"[number % 3], priority=number % 2, may_wake=may_wake)
        self.tasks.append(asyncio.create_task(self.ask(caller, probe=probe)))

    async def step(self, verb: str, number: int) -> None:
        gate = self.s.gate
        match verb:
            case "come" | "guest" | "probe":
                self.come(number, may_wake=verb != "guest", probe=verb == "probe")
            case "end" if self.held:
                self.held.pop(number % len(self.held)).release()
            case "end as all leave" if self.held:
                self.held.pop(number % len(self.held)).release()
                for task in self.tasks:
                    task.cancel()
            case "end all":
                while self.held:
                    self.held.pop().release()
            case "cancel" if pending := [task for task in self.tasks if not task.done()]:
                pending[number % len(pending)].cancel()
            case "time":
                await asyncio.sleep(number)
            case "open":
                self.replicas = number % 5 + 1
                self.s.open(self.replicas)
            case "shut":
                self.replicas = 0
                gate.shut()
            case "lose" if self.held:
                self.held[number % len(self.held)].failed()
            case "bad" if self.held:
                claim = self.held.pop(number % len(self.held))
                claim.struggled()
                claim.release()
            case "uncount" if self.held:
                self.held[number % len(self.held)].uncount()
            case "bound":
                gate.bound(max_waiting=4, concurrency=None if number % 4 == 0 else number % 4)
            case "fail guests":
                gate.fail_bystanders(lambda _caller: Unavailable("no"))
            case "tick":
                await asyncio.sleep(0)
            case _:
                pass

    def check(self) -> None:
        gate = self.s.gate
        if gate.is_open and not gate.is_busy:
            assert gate.held == 0, "somebody waits before a free slot"
        assert gate.waiting >= 0, "who does not wait any more is counted"
        assert gate.held <= 4
        assert gate.in_flight >= len(self.held)
        slots = gate._slots
        assert len(slots.open) >= len(slots._all) - len(slots._unreachable) - len(slots._all) // 2

    async def end(self) -> None:
        """Everything works from here on: whoever still waits is let through."""
        for _ in range(40):
            self.s.open(2)
            await ticks(4)
            while self.held:
                self.held.pop().release()


@given(st.sampled_from([None, 1, 2]), _STEPS)
@settings(max_examples=300, deadline=None)
def test_over_any_history_every_request_ends_and_every_slot_comes_back(
    concurrency: int | None, steps: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        world = World(concurrency)
        for verb, number in steps:
            await world.step(verb, number)
            world.check()
        await world.end()
        done = await asyncio.gather(*world.tasks, return_exceptions=True)
        assert not [error for error in done if error is not None and not isinstance(error, asyncio.CancelledError)]
        gate = world.s.gate
        assert (gate.in_flight, gate.held, gate.bystanders) == (0, 0, 0)
        assert all(slot.in_flight == 0 for slot in gate._slots._known.values())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())


@virtual
async def test_a_slot_that_is_given_to_one_who_leaves_at_that_moment_goes_to_the_next() -> None:
    s = Stage(concurrency=1)
    running = s.take()
    leaver, stayer = s.come(), s.come()
    await ticks()
    running.release()
    leaver.cancel()
    await ticks()
    assert leaver.cancelled()
    assert stayer.done()
    stayer.result().release()
    assert s.gate.in_flight == 0


@virtual
async def test_waiters_that_time_out_as_slots_get_free_lose_no_slot() -> None:
    s = Stage(concurrency=1)
    served = 0

    async def ask(number: int) -> None:
        nonlocal served
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1 + number % 7):
                claim = await s.gate.claim(Caller(key=str(number % 3)))
                try:
                    served += 1
                    await asyncio.sleep(1)
                finally:
                    claim.release()

    await asyncio.gather(*(ask(number) for number in range(200)))
    assert served >= 6
    assert (s.gate.in_flight, s.gate.held) == (0, 0)
    assert s.gate.try_claim() is not None


# Replicas that answer badly.


def _struggle(claim: ActiveClaim) -> None:
    claim.struggled()
    claim.struggled()  # said twice it counts once
    claim.release()


def _make_second_bad(s: Stage, times: int = 5) -> None:
    """Let so many requests in a row fail at the second of two idle replicas, and those at the first one succeed."""
    for _ in range(times):
        first, second = s.take(), s.take()
        assert second.replica.id == "2"
        _struggle(second)
        first.release()


@virtual
async def test_five_bad_answers_in_a_row_set_a_replica_aside_for_ten_seconds() -> None:
    s = Stage(replicas=2)
    _make_second_bad(s, 4)
    assert set(s.replicas(4)) == {"1", "2"}
    _make_second_bad(s)
    assert s.outliers == [("2", 10.0)]
    assert set(s.replicas(6)) == {"1"}
    await asyncio.sleep(9.9)
    assert set(s.replicas(6)) == {"1"}
    await asyncio.sleep(0.2)
    assert set(s.replicas(6)) == {"1", "2"}


@virtual
async def test_a_replica_that_is_set_aside_again_stays_away_for_longer() -> None:
    s = Stage(replicas=2)
    for pause in (10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0):
        _make_second_bad(s)
        assert s.outliers[-1] == ("2", pause)
        await asyncio.sleep(pause + 0.1)
    await asyncio.sleep(301)
    _make_second_bad(s)
    assert s.outliers[-1] == ("2", 10.0), "it was well for long enough"


@virtual
async def test_a_good_answer_in_between_keeps_a_replica() -> None:
    s = Stage(replicas=2)
    for _ in range(10):
        _make_second_bad(s, 4)
        s.replicas(2)
    assert s.outliers == []
    assert set(s.replicas(4)) == {"1", "2"}


@virtual
async def test_a_claim_that_tells_nothing_ends_no_row_and_adds_nothing_to_it() -> None:
    s = Stage(replicas=2)
    _make_second_bad(s, 4)
    first, left = s.take(), s.take()
    assert left.replica.id == "2"
    left.abandoned()
    left.struggled()  # the first word counts
    left.release()
    assert s.outliers == []
    probe = s.take()
    assert probe.replica.id == "2"
    probe.uncount()
    probe.struggled()
    probe.release()
    assert s.outliers == []
    first.release()
    _make_second_bad(s, 1)
    assert s.outliers == [("2", 10.0)]


@virtual
async def test_a_bad_answer_stays_bad_when_the_attempt_is_then_abandoned() -> None:
    s = Stage(replicas=2)
    _make_second_bad(s, 4)
    first, second = s.take(), s.take()
    second.struggled()
    second.abandoned()
    second.release()
    first.release()
    assert s.outliers == [("2", 10.0)]


@virtual
async def test_who_leaves_as_a_slot_is_given_to_them_is_no_good_answer() -> None:
    s = Stage(replicas=2, concurrency=1)
    _make_second_bad(s, 4)
    first, second = s.take(), s.take()
    leaver = s.come()
    await ticks()
    second.abandoned()
    second.release()
    leaver.cancel()
    await ticks()
    assert leaver.cancelled()
    first.release()
    _make_second_bad(s, 1)
    assert s.outliers == [("2", 10.0)]


def _is_attentive(s: Stage) -> bool:
    return s.gate._attentive


@virtual
async def test_where_nothing_is_wrong_the_end_of_a_request_is_looked_at_no_further() -> None:
    s = Stage(replicas=2)
    assert not _is_attentive(s)
    one, two = s.take(), s.take()
    two.struggled()
    assert _is_attentive(s)
    two.release()
    one.release()
    s.replicas(2)
    assert not _is_attentive(s)


@virtual
async def test_one_replica_alone_is_never_set_aside_and_of_several_half_at_most() -> None:
    s = Stage(replicas=1)
    for _ in range(20):
        _struggle(s.take())
    assert s.outliers == []
    s.open(5)
    for _ in range(100):
        _struggle(s.take())
    assert len(s.outliers) == 2
    assert len(set(s.replicas(30))) == 3


@virtual
async def test_a_replica_at_rest_is_needed_when_the_other_one_is_lost() -> None:
    s = Stage(replicas=2, concurrency=1)
    _make_second_bad(s)
    assert s.outliers == [("2", 10.0)]
    running = s.take()
    waiting = s.come()
    await ticks()
    running.failed()
    assert s.suspicions == 1
    assert (await waiting).replica.id == "2"


@virtual
async def test_who_rests_goes_on_resting_over_looks_and_is_new_after_a_sleep() -> None:
    s = Stage(replicas=2)
    _make_second_bad(s)
    s.open(2)
    assert set(s.replicas(4)) == {"1"}
    s.gate.shut()
    s.open(2)
    assert set(s.replicas(4)) == {"1", "2"}


@virtual
async def test_with_a_bound_those_who_wait_get_the_slots_of_a_replica_that_is_back() -> None:
    s = Stage(replicas=2, concurrency=1)
    _make_second_bad(s)
    s.take()
    waiting = s.come()
    await asyncio.sleep(9)
    assert not waiting.done()
    await asyncio.sleep(1.1)
    assert waiting.done()
    assert waiting.result().replica.id == "2"
    assert waiting.result().waited == pytest.approx(10, abs=0.1)


@virtual
async def test_a_replica_that_could_not_be_reached_neither_did_well_nor_badly() -> None:
    s = Stage(replicas=2)
    _make_second_bad(s, 4)
    s.take()
    lost = s.take()
    lost.failed()
    lost.release()
    s.open(2)
    two = s.take()
    assert two.replica.id == "2"
    _struggle(two)
    assert s.outliers == [("2", 10.0)]
