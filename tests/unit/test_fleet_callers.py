"""Demand that does not wait, and callers who may not wake: what a route and a key can ask of an endpoint."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from lamplighter.control.demand import Caller
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.situation import Situation
from lamplighter.domain.endpoint import Phase, State
from lamplighter.errors import EndpointNotFound, EndpointPaused, Forbidden, WakeFailed, WakeTimeout
from lamplighter.providers.memory import Fault
from tests.unit.test_fleet import Stage, spec, stage
from tests.virtual_time import virtual

GUEST = Caller(key="guest", may_wake=False)


async def _serve_guest(s: Stage, timeout: float | None = None) -> float:
    claim = s.fleet.try_claim("chat") or await s.fleet.claim("chat", timeout, GUEST)
    claim.release()
    return claim.waited


# Demand that does not wait.


@virtual
async def test_wanting_begins_a_wake_without_waiting_and_is_on_record_as_a_requests() -> None:
    journal = MemoryJournal()
    async with stage(journal=journal) as s:
        s.fleet.want("chat")
        await asyncio.sleep(1)
        assert s.phase() is Phase.STARTING
        assert s.fleet.endpoint("chat").waiting == 0
        await asyncio.sleep(5)
        assert s.phase() is Phase.RUNNING
        assert s.fleet.is_awake("chat")
    assert [record.actor for record in journal.operations if record.operation == "wake"] == ["request"]


@virtual
async def test_wanting_over_and_over_causes_one_wake_and_then_idles_out() -> None:
    async with stage() as s:
        for _ in range(400):
            s.fleet.want("chat")
            await asyncio.sleep(0.05)
        await asyncio.sleep(70)
        assert s.phase() is Phase.SLEEPING
        assert s.provider.counts("chat") == (1, 1)


@virtual
async def test_wanting_what_is_awake_does_not_keep_it_awake() -> None:
    async with stage() as s:
        await s.serve()
        for _ in range(70):
            await asyncio.sleep(1)
            s.fleet.want("chat")
            if not s.fleet.is_awake("chat"):
                break
        assert s.provider.counts("chat")[1] == 1


@virtual
async def test_wanting_ends_with_the_policys_wake_timeout() -> None:
    big = spec("big", gpu=1)
    async with stage(spec(gpu=1, wake_timeout=20), big, resources={"gpu": 1}) as s:
        holder = asyncio.create_task(s.serve("big", seconds=100))
        await asyncio.sleep(10)
        s.fleet.want("chat")
        await asyncio.sleep(10)
        assert s.phase() is Phase.STARTING
        await asyncio.sleep(15)
        assert s.phase() is Phase.SLEEPING
        await holder
        await asyncio.sleep(5)
        assert s.provider.counts("chat") == (0, 0)


@virtual
async def test_wanting_respects_a_pause_and_an_operators_later_word() -> None:
    async with stage() as s:
        await s.fleet.pause("chat", actor="me")
        s.fleet.want("chat")
        await asyncio.sleep(10)
        assert s.provider.counts("chat") == (0, 0)
        await s.fleet.scale_to_zero("chat", actor="me")
        await asyncio.sleep(5)
        s.provider.script("chat", "wake", Fault.REFUSE)
        s.fleet.want("chat")
        await asyncio.sleep(0.1)
        await s.fleet.sleep("chat", actor="me")
        await asyncio.sleep(30)
        assert s.provider.counts("chat") == (0, 0)


@virtual
async def test_wanting_respects_the_back_off_and_is_over_when_the_wake_is_given_up() -> None:
    async with stage(spec(wake_attempts=2, backoff_base=100)) as s:
        s.provider.script("chat", "wake", Fault.REFUSE, Fault.REFUSE)
        s.fleet.want("chat")
        await asyncio.sleep(105)
        assert len(s.provider.calls) == 2
        assert s.phase() is Phase.ERROR
        for _ in range(5):
            s.fleet.want("chat")
            await asyncio.sleep(1)
        assert len(s.provider.calls) == 2
        with pytest.raises(WakeFailed):
            await s.serve()
        await asyncio.sleep(200)
        s.fleet.want("chat")
        await asyncio.sleep(6)
        assert s.phase() is Phase.RUNNING


@contextmanager
def _views_made() -> Iterator[list[str]]:
    """Whatever makes a view of all that is known of an endpoint meanwhile."""
    made: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is Situation.view.__code__:
            made.append(frame.f_back.f_code.co_name if frame.f_back is not None else "")

    sys.setprofile(note)
    try:
        yield made
    finally:
        sys.setprofile(None)


def _want_often(s: Stage) -> tuple[list[str], bool]:
    """What made a view as it was wanted a hundred times, and whether its controller was nudged after the first."""
    nudge = s.fleet._controllers["chat"]._here.nudge
    with _views_made() as made:
        s.fleet.want("chat")
        nudge.clear()
        for _ in range(99):
            s.fleet.want("chat")
    return made, nudge.is_set()


CHEAP: tuple[list[str], bool] = ([], False)


@virtual
async def test_wanting_is_cheap_while_a_want_stands_and_where_a_pause_or_a_failure_answers_it() -> None:
    async with stage(start_delay=50.0) as s:
        s.fleet.want("chat")
        await asyncio.sleep(1)
        assert _want_often(s) == CHEAP
        await s.fleet.pause("chat", actor="me")
        await asyncio.sleep(5)
        assert _want_often(s) == CHEAP
        with _views_made() as made:
            s.fleet.endpoint("chat")
        assert made == ["endpoint"], "what is counted here is made by those who need it"
    async with stage(spec(wake_attempts=1, backoff_base=100)) as s:
        s.provider.script("chat", "wake", Fault.REFUSE)
        s.fleet.want("chat")
        await asyncio.sleep(1)
        assert s.phase() is Phase.ERROR
        assert _want_often(s) == CHEAP
    async with stage(spec(wake_paused=False)) as s:
        s.provider.set_state("chat", State.PAUSED)
        await asyncio.sleep(5)
        assert _want_often(s) == CHEAP


@virtual
async def test_wanting_what_is_paused_elsewhere_looks_once_a_second_and_finds_it_resumed() -> None:
    async with stage(spec(wake_paused=False), reports_changes=False, look_every=60.0) as s:
        s.provider.set_state("chat", State.PAUSED)
        await asyncio.sleep(70)
        before = s.fleet._controllers["chat"].looks
        for _ in range(1000):
            s.fleet.want("chat")
            await asyncio.sleep(0.01)
        assert 8 <= s.fleet._controllers["chat"].looks - before <= 12
        s.provider.set_state("chat", State.SCALED_TO_ZERO)
        await asyncio.sleep(1.1)
        s.fleet.want("chat")
        await asyncio.sleep(1.1)
        s.fleet.want("chat")
        await asyncio.sleep(6)
        assert s.phase() is Phase.RUNNING


@virtual
async def test_a_want_that_was_answered_with_no_counts_as_soon_as_the_reason_is_gone() -> None:
    async with stage() as s:
        await s.fleet.pause("chat", actor="me")
        await asyncio.sleep(5)
        s.fleet.want("chat")
        await s.fleet.scale_to_zero("chat", actor="me")
        s.fleet.want("chat")
        await asyncio.sleep(10)
        assert s.phase() is Phase.RUNNING
    async with stage(spec(wake_attempts=1, backoff_base=100)) as s:
        s.provider.script("chat", "wake", Fault.REFUSE)
        s.fleet.want("chat")
        await asyncio.sleep(0.1)
        retry_at = s.fleet._controllers["chat"].view().retry_at
        await asyncio.sleep(retry_at - asyncio.get_running_loop().time() - 0.05)
        s.fleet.want("chat")
        await asyncio.sleep(0.1)
        assert s.phase() is Phase.ERROR
        s.fleet.want("chat")
        await asyncio.sleep(6)
        assert s.phase() is Phase.RUNNING


@virtual
async def test_what_is_expected_is_told_without_any_effect() -> None:
    async with stage(start_delay=100.0) as s:
        assert not s.fleet.is_awake("chat")
        assert s.fleet.expected_wait("chat") == 5.0, "nothing was measured yet"
        claim = await s.fleet.claim("chat", None)
        assert (s.fleet.expected_wait("chat"), s.fleet.in_flight("chat")) == (0.0, 1)
        claim.release()
        await asyncio.sleep(70)
        assert s.fleet.expected_wait("chat") == pytest.approx(100, abs=1)
        assert s.fleet.in_flight("chat") == 0
        assert s.phase() is Phase.SLEEPING
        assert s.provider.counts("chat") == (1, 1)


@virtual
async def test_a_name_that_is_not_known_is_not_awake_and_can_not_be_wanted() -> None:
    async with stage() as s:
        assert not s.fleet.is_awake("nobody")
        assert s.fleet.in_flight("nobody") == 0
        with pytest.raises(EndpointNotFound):
            s.fleet.want("nobody")
        with pytest.raises(EndpointNotFound):
            s.fleet.expected_wait("nobody")


# Callers who may not wake.


@virtual
async def test_a_caller_who_may_not_wake_is_refused_at_once_where_nobody_wakes_it() -> None:
    async with stage() as s:
        with pytest.raises(Forbidden, match="lamplighter wake chat"):
            await _serve_guest(s)
        await asyncio.sleep(10)
        assert s.provider.counts("chat") == (0, 0)
        assert s.fleet.endpoint("chat").last_activity is None


@virtual
async def test_a_caller_who_may_not_wake_waits_for_a_wake_that_others_want() -> None:
    async with stage() as s:
        other = asyncio.create_task(s.serve())
        await asyncio.sleep(1)
        guest = asyncio.create_task(_serve_guest(s))
        await asyncio.sleep(1)
        assert s.fleet.endpoint("chat").waiting == 2
        assert await guest == pytest.approx(4.0, abs=0.1)
        await other
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_serving_a_caller_who_may_not_wake_is_activity() -> None:
    async with stage() as s:
        await s.serve()
        await asyncio.sleep(50)
        await _serve_guest(s)
        await asyncio.sleep(50)
        assert s.phase() is Phase.RUNNING


@virtual
async def test_when_those_who_may_wake_leave_and_the_wake_fails_the_rest_is_told() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", Fault.REFUSE)
        other = asyncio.create_task(s.serve())
        await asyncio.sleep(0.1)
        guest = asyncio.create_task(_serve_guest(s))
        await asyncio.sleep(0.1)
        other.cancel()
        with pytest.raises(Forbidden):
            await guest
        assert s.provider.counts("chat") == (0, 0)


@virtual
async def test_a_wake_that_is_given_up_is_told_to_those_who_may_not_wake_as_well() -> None:
    async with stage(spec(wake_attempts=2)) as s:
        s.provider.script("chat", "wake", *[Fault.REFUSE] * 4)
        s.fleet.hold("chat", "lease")
        with pytest.raises(WakeFailed):
            await _serve_guest(s)


@virtual
async def test_a_pause_turns_those_who_may_not_wake_away_too() -> None:
    async with stage() as s:
        other = asyncio.create_task(s.serve())
        await asyncio.sleep(1)
        guest = asyncio.create_task(_serve_guest(s))
        await asyncio.sleep(0.1)
        await s.fleet.pause("chat", actor="me")
        for task in (guest, other):
            with pytest.raises(EndpointPaused):
                await task


@virtual
async def test_their_time_to_be_held_bounds_those_who_may_not_wake() -> None:
    async with stage() as s:
        other = asyncio.create_task(s.serve())
        await asyncio.sleep(1)
        with pytest.raises(WakeTimeout):
            await _serve_guest(s, timeout=2)
        await other


@virtual
async def test_while_nobody_knows_how_it_is_those_who_may_not_wake_wait_for_that() -> None:
    async with stage(up=True, faults={"chat": {"observe": ["unreachable", "unreachable"]}}) as s:
        assert s.phase() is Phase.UNKNOWN
        assert 0 < await _serve_guest(s) < 5
        assert s.provider.counts("chat")[0] == 0
