"""The fleet when things go wrong at the edges: lost verbs, restarts, reloads, shutdown. In simulated time."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import Memory, MemoryJournal
from lamplighter.domain.endpoint import Phase, Spec, State, Status
from lamplighter.domain.lifecycle import SETTLE_TIME
from lamplighter.errors import EndpointNotFound, InvalidInput, ProviderError, QueueFull, WakeFailed, WakeTimeout
from lamplighter.providers.memory import Fault, MemoryProvider
from tests.unit.test_fleet import spec, stage
from tests.virtual_time import BEGINNING, VirtualClock, virtual


@virtual
async def test_a_lost_wake_that_nobody_waits_for_any_more_ends() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", Fault.LOSE)
        with pytest.raises(WakeTimeout):
            await s.serve(timeout=1)
        await asyncio.sleep(2 * SETTLE_TIME)
        assert s.phase() is not Phase.STARTING
        s.fleet.remove("chat")
        await asyncio.sleep(1)
        with pytest.raises(EndpointNotFound):
            await s.provider.observe("chat")


@virtual
async def test_a_wake_after_the_last_activity_starts_the_idle_clock_of_an_adopted_endpoint() -> None:
    journal = MemoryJournal()
    journal.memories["chat"] = Memory(last_activity=BEGINNING - 36_000, wake_time=BEGINNING - 10)
    async with stage(journal=journal, up=True) as s:
        await asyncio.sleep(45)
        assert s.phase() is Phase.RUNNING
        await asyncio.sleep(10)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_wake_is_remembered_at_once_and_a_long_stream_counts_as_activity() -> None:
    async with stage() as s:
        streaming = asyncio.create_task(s.serve(seconds=1000))
        await asyncio.sleep(6)
        assert s.journal.memories["chat"].wake_time == pytest.approx(BEGINNING + 5, abs=0.1)
        await asyncio.sleep(500)
        assert s.journal.memories["chat"].last_activity == pytest.approx(s.clock.wall(), abs=16)
        streaming.cancel()


@virtual
async def test_a_start_that_somebody_else_began_is_not_learned_from() -> None:
    async with stage() as s:
        s.provider.set_state("chat", State.INITIALIZING)
        await asyncio.sleep(1)
        s.provider.set_state("chat", State.RUNNING)
        await asyncio.sleep(1)
        assert s.phase() is Phase.RUNNING
        assert s.fleet.endpoint("chat").expected_start is None


@virtual
async def test_a_full_queue_says_when_to_come_back() -> None:
    async with stage(spec(max_waiting=1), start_delay=100.0) as s:
        held = asyncio.create_task(s.serve(timeout=200))
        await asyncio.sleep(40)
        with pytest.raises(QueueFull) as caught:
            await s.serve()
        assert caught.value.retry_after == pytest.approx(40, abs=1)
        await held


@virtual
async def test_a_wake_that_has_not_begun_is_not_said_to_go_on() -> None:
    async with stage(spec("a", gpu=1), spec("b", gpu=1), resources={"gpu": 1}) as s:
        busy = asyncio.create_task(s.serve("a", seconds=100))
        await asyncio.sleep(10)
        with pytest.raises(WakeTimeout) as caught:
            await s.serve("b", timeout=5)
        assert "goes on" not in str(caught.value)
        await busy


@virtual
async def test_a_start_that_nobody_wants_any_more_makes_room() -> None:
    async with stage(spec("a", gpu=1), spec("b", gpu=1), resources={"gpu": 1}, start_delay=100.0) as s:
        with pytest.raises(WakeTimeout):
            await s.serve("a", timeout=2)
        assert await s.serve("b", timeout=150) == pytest.approx(101, abs=2)


@virtual
async def test_an_operators_wake_waits_for_room_no_longer_than_a_request_would() -> None:
    async with stage(spec("a", gpu=1), spec("b", gpu=1, wake_timeout=60.0), resources={"gpu": 1}) as s:
        busy = asyncio.create_task(s.serve("a", seconds=500))
        await asyncio.sleep(10)
        await s.fleet.wake("b", actor="ann")
        await asyncio.sleep(70)
        endpoint = s.fleet.endpoint("b")
        assert endpoint.phase is Phase.SLEEPING
        assert "held by a" in (endpoint.message or "")
        await busy


@virtual
async def test_requests_wait_while_an_endpoint_of_the_same_name_is_replaced_by_another() -> None:
    async with stage() as s:
        streaming = asyncio.create_task(s.serve(seconds=30))
        await asyncio.sleep(6)
        s.fleet.remove("chat")
        assert await s.fleet.apply({"chat": spec(idle_timeout=9.0)}) == {}
        with pytest.raises(WakeTimeout, match="is being replaced"):
            await s.serve(timeout=3)
        assert s.fleet.is_probe("chat", "/health")
        assert await s.serve(timeout=100) == pytest.approx(35 - 9 + 1 + 5, abs=1), "old stream, stop, new start"
        await streaming
        assert s.fleet.endpoint("chat").spec.policy.idle_timeout == 9.0


class SlowToCreate(MemoryProvider):
    async def create(self, spec: Spec) -> Status:
        await asyncio.sleep(2)
        return await super().create(spec)


@virtual
async def test_requests_and_reloads_that_come_while_a_successor_is_made_are_not_lost() -> None:
    provider = SlowToCreate(start_delay=5.0, stop_delay=1.0)
    fleet = Fleet({"memory": provider}, MemoryJournal(), clock=VirtualClock())
    await fleet.open([spec()])
    fleet.remove("chat")
    await fleet.apply({"chat": spec(idle_timeout=7.0)})
    await asyncio.sleep(1)  # the predecessor is gone, the successor half made
    claimed = asyncio.create_task(fleet.claim("chat", 100.0))
    await fleet.apply({"chat": spec(idle_timeout=8.0)})
    (await claimed).release()
    assert fleet.endpoint("chat").spec.policy.idle_timeout == 8.0
    assert provider.counts("chat") == (1, 0)
    await fleet.close(drain=0.0)


@virtual
async def test_an_endpoint_that_a_reload_takes_out_while_it_is_made_is_gone_in_the_end() -> None:
    provider = SlowToCreate(start_delay=5.0, stop_delay=1.0)
    fleet = Fleet({"memory": provider}, MemoryJournal(), clock=VirtualClock())
    await fleet.open([spec()])
    fleet.remove("chat")
    await fleet.apply({"chat": spec()})
    await asyncio.sleep(1)
    await fleet.apply({})
    await asyncio.sleep(10)
    with pytest.raises(EndpointNotFound):
        await provider.observe("chat")
    assert not fleet.endpoints()
    await fleet.close(drain=0.0)


@virtual
async def test_a_failed_start_up_leaves_what_runs_alone() -> None:
    provider = MemoryProvider()
    await provider.create(spec())
    provider.set_state("chat", State.RUNNING)

    class Refusing(MemoryProvider):
        async def create(self, spec: Spec) -> Status:
            raise InvalidInput("no")

    fleet = Fleet({"memory": provider, "other": Refusing()}, MemoryJournal(), clock=VirtualClock())
    with pytest.raises(InvalidInput):
        await fleet.open([spec(), dataclasses.replace(spec("x"), provider="other")])
    assert (await provider.observe("chat")).state is State.RUNNING


@virtual
async def test_a_delete_that_fails_is_tried_again() -> None:
    async with stage() as s:
        delete, failures = s.provider.delete, [ProviderError("not now"), ProviderError("not now")]

        async def flaky(name: str) -> None:
            if failures:
                raise failures.pop()
            await delete(name)

        s.provider.delete = flaky  # type: ignore[method-assign]
        s.fleet.remove("chat")
        await asyncio.sleep(30)
        with pytest.raises(EndpointNotFound):
            await s.provider.observe("chat")
        assert [o.success for o in s.journal.operations if o.operation == "delete"] == [False, False, True]


@virtual
async def test_what_failed_and_may_not_be_put_to_sleep_is_deleted_as_it_is() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", *[Fault.BREAK] * 10)
        with pytest.raises(WakeFailed):
            await s.serve()
        s.provider.script("chat", "sleep", *[Fault.INVALID] * 10)
        s.fleet.remove("chat")
        await asyncio.sleep(60)
        with pytest.raises(EndpointNotFound):
            await s.provider.observe("chat")


@virtual
async def test_a_sleep_that_goes_on_failing_is_shown_for_as_long_as_it_does() -> None:
    async with stage() as s:
        await s.serve()
        s.provider.script("chat", "sleep", *[Fault.REFUSE] * 5)
        await s.fleet.sleep("chat", actor="somebody")
        await asyncio.sleep(0.1)
        for _ in range(5):
            s.provider.set_state("chat", State.RUNNING)  # any look that finds it as it was
            await asyncio.sleep(0.3)
            assert "putting it to sleep failed" in str(s.fleet.endpoint("chat").message)
        await asyncio.sleep(120)
        assert (s.phase(), s.fleet.endpoint("chat").message) == (Phase.SLEEPING, None)


@virtual
async def test_the_end_of_the_server_is_on_record() -> None:
    async with stage() as s:
        await s.serve()
        await s.fleet.close(drain=0.0)
        last = s.journal.transitions[-1]
        assert (last.before, last.after, last.reason) == (State.RUNNING, State.SCALED_TO_ZERO, "shutdown")


@virtual
async def test_what_is_left_running_is_not_recorded_as_ended() -> None:
    async with stage() as s:
        await s.serve()
        await s.fleet.close(drain=0.0, leave_running=True)
        assert s.journal.transitions[-1].after is State.RUNNING
