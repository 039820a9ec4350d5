"""Paused is somebody's word, scaled to zero is a state of rest: the fleet over the memory provider, in simulated time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

import pytest

from lamplighter.control.clock import Clock
from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import MemoryJournal, StoreJournal
from lamplighter.domain.endpoint import Phase, State
from lamplighter.domain.lifecycle import SETTLE_TIME
from lamplighter.errors import EndpointPaused, QueueFull, ShuttingDown, Unavailable, WakeFailed
from lamplighter.providers.memory import Fault, MemoryProvider
from lamplighter.store import Store
from tests.unit.test_fleet import Stage, spec, stage
from tests.virtual_time import virtual


def state(s: Stage, name: str = "chat") -> State | None:
    return s.fleet.endpoint(name).state


@virtual
async def test_a_paused_endpoint_refuses_requests_and_is_woken_by_none() -> None:
    async with stage() as s:
        await s.serve()
        await s.fleet.pause("chat", actor="ann")
        with pytest.raises(EndpointPaused, match="lamplighter resume chat"):
            await s.serve()
        seen = await s.fleet.settled("chat", Phase.SLEEPING, timeout=10)
        assert (seen.state, seen.phase, seen.paused) == (State.PAUSED, Phase.SLEEPING, True)
        assert seen.message == "paused: no request wakes it"
        for _ in range(3):
            with pytest.raises(EndpointPaused):
                await s.serve()
        await asyncio.sleep(1000)
        assert s.provider.counts("chat") == (1, 1)


@virtual
async def test_those_who_wait_are_told_when_the_pause_comes_and_the_start_is_broken_off() -> None:
    async with stage() as s:
        waiting = [asyncio.create_task(s.serve()) for _ in range(3)]
        await asyncio.sleep(2)
        await s.fleet.pause("chat", actor="ann")
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, EndpointPaused)
        await s.fleet.settled("chat", Phase.SLEEPING, timeout=10)
        assert state(s) is State.PAUSED
        assert s.provider.counts("chat") == (1, 1)


@virtual
async def test_a_pause_waits_for_what_is_in_flight_and_lets_nobody_else_in() -> None:
    async with stage() as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=20))
        await asyncio.sleep(1)
        seen = await s.fleet.pause("chat", actor="ann")
        assert (seen.phase, seen.message) == (Phase.STOPPING, "paused: 1 in flight may end, nothing else is let in")
        assert s.fleet.try_claim("chat") is None
        with pytest.raises(EndpointPaused):
            await s.serve()
        await asyncio.sleep(10)
        assert state(s) is State.RUNNING
        await streaming
        await asyncio.sleep(1.5)
        assert state(s) is State.PAUSED


@virtual
async def test_only_a_resume_or_a_wake_withdraws_a_pause_and_both_wake() -> None:
    async with stage() as s:
        await s.serve()
        for verb in (s.fleet.resume, s.fleet.wake):
            await s.fleet.pause("chat", actor="ann")
            await s.fleet.sleep("chat", actor="bob")
            await asyncio.sleep(5)
            assert state(s) is State.PAUSED, "a sleep is no word against a pause"
            assert (await verb("chat", actor="ann")).phase is Phase.STARTING
            seen = await s.fleet.settled("chat", Phase.RUNNING, timeout=10)
            assert (seen.phase, seen.paused) == (Phase.RUNNING, False)
            assert await s.serve() == 0.0


@virtual
async def test_a_resume_amid_the_pausing_brings_it_up_again() -> None:
    async with stage(stop_delay=4.0) as s:
        await s.serve()
        await s.fleet.pause("chat", actor="ann")
        await asyncio.sleep(1)
        await s.fleet.resume("chat", actor="bob")
        assert await s.serve() == pytest.approx(8, abs=0.5)


@virtual
@pytest.mark.parametrize("verb", ["resume", "scale_to_zero"])
async def test_a_pause_that_is_withdrawn_while_requests_are_in_flight_lets_others_in_at_once(verb: str) -> None:
    async with stage() as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=50))
        await asyncio.sleep(1)
        await s.fleet.pause("chat", actor="ann")
        await asyncio.sleep(1)
        await getattr(s.fleet, verb)("chat", actor="ann")
        assert await s.serve() < 0.1
        await streaming


@virtual
async def test_an_endpoint_that_moves_to_another_provider_stays_paused() -> None:
    providers = {"memory": MemoryProvider(), "other": MemoryProvider()}
    journal = MemoryJournal()
    fleet = Fleet(providers, journal)
    await fleet.open([spec()])
    await fleet.pause("chat", actor="ann")
    await fleet.apply({"chat": dataclasses.replace(spec(), provider="other")})
    with pytest.raises(EndpointPaused):
        await fleet.claim("chat", 10.0)
    await asyncio.sleep(1)
    assert (await providers["other"].observe("chat")).state is State.PAUSED
    assert journal.memories["chat"].paused
    await fleet.close(drain=0.0)


@virtual
async def test_scaled_to_zero_is_woken_by_the_next_request_also_after_a_pause() -> None:
    async with stage() as s:
        await s.fleet.pause("chat", actor="ann")
        seen = await s.fleet.settled("chat", Phase.SLEEPING, timeout=10)
        assert seen.state is State.PAUSED, "one that slept already"
        assert (await s.fleet.scale_to_zero("chat", actor="ann")).paused is False
        seen = await s.fleet.settled("chat", Phase.SLEEPING, timeout=10)
        assert seen.state is State.SCALED_TO_ZERO
        assert s.provider.counts("chat") == (0, 0)
        assert await s.serve() == pytest.approx(5, abs=0.1)
        await s.fleet.scale_to_zero("chat", actor="ann")
        await asyncio.sleep(2)
        assert state(s) is State.SCALED_TO_ZERO


@virtual
async def test_a_provider_that_can_not_scale_a_paused_endpoint_to_zero_is_asked_gently() -> None:
    async with stage() as s:
        await s.fleet.pause("chat", actor="ann")
        await asyncio.sleep(1)
        s.provider.calls.clear()
        s.provider.script("chat", "sleep", *[Fault.REFUSE] * 50)
        await s.fleet.scale_to_zero("chat", actor="ann")
        await asyncio.sleep(1000)
        assert 3 < len(s.provider.calls) < 15
        s.provider.script("chat", "sleep", *[Fault.REFUSE] * 50)


@virtual
async def test_a_provider_that_will_never_scale_a_paused_endpoint_to_zero_is_asked_once() -> None:
    async with stage() as s:
        await s.fleet.pause("chat", actor="ann")
        await asyncio.sleep(1)
        s.provider.calls.clear()
        s.provider.script("chat", "sleep", Fault.INVALID)
        await s.fleet.scale_to_zero("chat", actor="ann")
        await asyncio.sleep(1000)
        assert len(s.provider.calls) == 1
        assert state(s) is State.PAUSED
        assert await s.serve() > 0, "the pause was withdrawn all the same"


@virtual
async def test_a_pause_that_fails_is_tried_again_and_keeps_the_gate_shut() -> None:
    async with stage() as s:
        await s.serve()
        s.provider.script("chat", "sleep", Fault.REFUSE, Fault.LOSE_ANSWER, Fault.LOSE)
        await s.fleet.pause("chat", actor="ann")
        for _ in range(20):
            with pytest.raises(EndpointPaused):
                await s.serve()
            await asyncio.sleep(0.2)
        await asyncio.sleep(2 * SETTLE_TIME)
        assert state(s) is State.PAUSED


@virtual
async def test_pausing_ends_leases_and_keep_warm_does_not_count() -> None:
    async with stage(spec(keep_warm=True)) as s:
        s.fleet.hold("chat", "session-1")
        await asyncio.sleep(10)
        await s.fleet.pause("chat", actor="ann")
        assert not s.fleet.holds("chat", "session-1")
        await asyncio.sleep(1000)
        assert state(s) is State.PAUSED
        await s.fleet.resume("chat", actor="ann")
        await asyncio.sleep(1000)
        assert s.phase() is Phase.RUNNING


@virtual
async def test_pause_resume_and_scale_to_zero_are_on_record() -> None:
    async with stage() as s:
        await s.serve()
        await s.fleet.pause("chat", actor="ann")
        await asyncio.sleep(3)
        await s.fleet.scale_to_zero("chat", actor="bob")
        await asyncio.sleep(3)
        await s.fleet.resume("chat", actor="eve")
        await asyncio.sleep(6)
        asked = [(o.actor, o.operation) for o in s.journal.operations]
        assert asked[1:] == [
            ("ann", "ask pause"),
            ("ann", "pause"),
            ("bob", "ask scale to zero"),
            ("bob", "sleep"),
            ("eve", "ask resume"),
            ("eve", "wake"),
        ]
        changes = [
            (t.before, t.after, t.actor) for t in s.journal.transitions if t.actor not in {"provider", "request"}
        ]
        assert changes == [
            (State.RUNNING, State.PAUSED, "ann"),
            (State.PAUSED, State.SCALED_TO_ZERO, "bob"),
            (State.SCALED_TO_ZERO, State.INITIALIZING, "eve"),
            (State.INITIALIZING, State.RUNNING, "eve"),
        ]


@virtual
async def test_a_pause_outlasts_the_process_and_its_withdrawal_too() -> None:
    journal = MemoryJournal()
    async with stage(journal=journal) as s:
        await s.serve()
        await s.fleet.pause("chat", actor="ann")
        assert journal.memories["chat"].paused, "on record before it is told as done"
    async with stage(journal=journal) as s:
        with pytest.raises(EndpointPaused):
            await s.serve()
        seen = await s.fleet.settled("chat", Phase.SLEEPING, timeout=10)
        assert (seen.state, seen.paused) == (State.PAUSED, True)
        await s.fleet.resume("chat", actor="ann")
    async with stage(journal=journal) as s:
        assert await s.serve() == pytest.approx(5, abs=0.1)


async def test_a_pause_is_in_the_database_when_it_is_told_as_done(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "test.db")
    journal = StoreJournal(store, Clock())
    await journal.open()
    fleet = Fleet({"memory": MemoryProvider(start_delay=0.0, stop_delay=0.0)}, journal)
    try:
        await fleet.open([spec()])
        await fleet.pause("chat", actor="ann")
        assert (await store.load_endpoints())["chat"].paused
        assert (await journal.recall("chat")).paused
        await fleet.scale_to_zero("chat", actor="ann")
        assert not (await store.load_endpoints())["chat"].paused
    finally:
        await fleet.close(drain=0.0)
        await journal.close()
        await store.close()


@virtual
async def test_an_endpoint_that_runs_when_the_server_comes_back_is_paused_if_it_was_meant_to_be() -> None:
    journal, provider = MemoryJournal(), MemoryProvider(start_delay=5.0, stop_delay=1.0)
    fleet = Fleet({"memory": provider}, journal)
    await fleet.open([spec()])
    (await fleet.claim("chat", None)).release()
    provider.script("chat", "sleep", *[Fault.REFUSE] * 3)
    await fleet.pause("chat", actor="ann")
    await fleet.close(drain=0.0, leave_running=True)
    fleet = Fleet({"memory": provider}, journal)
    await fleet.open([spec()])
    assert fleet.try_claim("chat") is None
    await asyncio.sleep(300)
    assert (await provider.observe("chat")).state is State.PAUSED
    await fleet.close(drain=0.0)


@virtual
async def test_what_was_paused_elsewhere_is_resumed_by_a_request_only_if_it_may() -> None:
    async with stage(spec("may", wake_paused=True), spec("not", wake_paused=False)) as s:
        for name in ("may", "not"):
            s.provider.set_state(name, State.PAUSED)
        await asyncio.sleep(1)
        assert await s.serve("may") == pytest.approx(5, abs=0.1)
        with pytest.raises(EndpointPaused):
            await s.serve("not")
        assert s.fleet.endpoint("not").message == "paused: no request wakes it; that was done at its provider"
        await s.fleet.resume("not", actor="ann")
        assert await s.serve("not") == pytest.approx(5, abs=0.1)


@virtual
async def test_those_who_wait_are_told_when_it_is_paused_elsewhere_and_they_may_not_resume_it() -> None:
    async with stage(spec(wake_paused=False), start_delay=50.0) as s:
        waiting = asyncio.create_task(s.serve())
        await asyncio.sleep(40)
        s.provider.set_state("chat", State.PAUSED)
        with pytest.raises(EndpointPaused):
            await waiting


@virtual
async def test_a_refused_request_looks_whether_it_was_resumed_elsewhere() -> None:
    async with stage(spec(wake_paused=False), reports_changes=False, look_every=60.0) as s:
        s.provider.set_state("chat", State.PAUSED)
        await asyncio.sleep(70)
        s.provider.set_state("chat", State.RUNNING)
        with pytest.raises(EndpointPaused):
            await s.serve()
        await asyncio.sleep(1.5)
        assert await s.serve() == 0.0


@virtual
async def test_keep_warm_does_not_fight_somebody_who_pauses_elsewhere() -> None:
    async with stage(spec(keep_warm=True)) as s:
        await asyncio.sleep(10)
        s.provider.set_state("chat", State.PAUSED)
        await asyncio.sleep(1000)
        assert state(s) is State.PAUSED
        assert await s.serve() == pytest.approx(5, abs=0.1), "but a request may resume it"


@virtual
async def test_going_idle_may_lead_to_a_pause_that_the_next_request_withdraws() -> None:
    async with stage(spec(sleep_into=State.PAUSED)) as s:
        await s.serve()
        await asyncio.sleep(65)
        assert (state(s), s.fleet.endpoint("chat").paused) == (State.PAUSED, False)
        assert await s.serve() == pytest.approx(5, abs=0.1)


@virtual
async def test_what_its_provider_puts_to_sleep_is_left_awake() -> None:
    async with stage(spec(slept_by_provider=True)) as s:
        await s.serve()
        await asyncio.sleep(5000)
        seen = s.fleet.endpoint("chat")
        assert (seen.phase, seen.auto_sleep_in) == (Phase.RUNNING, None)
        s.provider.set_state("chat", State.SCALED_TO_ZERO)
        await asyncio.sleep(1)
        assert s.phase() is Phase.SLEEPING
        assert await s.serve() == pytest.approx(5, abs=0.1)


@virtual
async def test_waiting_for_running_ends_when_somebody_pauses_it_meanwhile() -> None:
    async with stage(start_delay=100.0) as s:
        await s.fleet.wake("chat", actor="ann")
        began = s.clock.now()
        settled = asyncio.create_task(s.fleet.settled("chat", Phase.RUNNING, timeout=1000))
        await asyncio.sleep(5)
        await s.fleet.pause("chat", actor="bob")
        assert (await settled).paused
        assert s.clock.now() - began < 10


@virtual
async def test_a_paused_endpoint_takes_a_new_spec_and_stays_paused() -> None:
    async with stage() as s:
        await s.fleet.pause("chat", actor="ann")
        await asyncio.sleep(1)
        await s.fleet.update(spec(replicas=2))
        await asyncio.sleep(1)
        assert (state(s), s.fleet.endpoint("chat").spec.replicas) == (State.PAUSED, 2)


@virtual
async def test_a_paused_endpoint_can_be_taken_out() -> None:
    async with stage() as s:
        await s.serve()
        await s.fleet.pause("chat", actor="ann")
        assert await s.fleet.remove_and_wait("chat", timeout=10)
        assert not s.fleet.endpoints()


# Waiting without demand.


@virtual
async def test_a_probe_that_is_held_wakes_nothing_and_is_let_in_when_somebody_else_woke_it() -> None:
    async with stage() as s:
        probe = asyncio.create_task(s.fleet.await_awake("chat", 100.0))
        await asyncio.sleep(50)
        assert s.provider.counts("chat") == (0, 0)
        assert s.fleet.endpoint("chat").waiting == 0
        await s.serve()
        claim = await probe
        assert claim.waited == pytest.approx(55, abs=0.1)
        claim.release()
        assert s.fleet.endpoint("chat").in_flight == 0


@virtual
async def test_a_probe_does_not_keep_awake() -> None:
    async with stage() as s:
        await s.serve()
        for _ in range(59):
            await asyncio.sleep(1)
            (await s.fleet.await_awake("chat", 0.0)).release()
        await asyncio.sleep(3)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_probe_is_held_no_longer_than_it_asks_and_not_at_all_for_nothing() -> None:
    async with stage() as s:
        began = s.clock.now()
        with pytest.raises(Unavailable, match="is not awake, and a health probe"):
            await s.fleet.await_awake("chat", 0.0)
        assert s.clock.now() - began < 0.01
        with pytest.raises(Unavailable, match="after 7 s"):
            await s.fleet.await_awake("chat", 7.0)
        assert s.clock.now() - began == pytest.approx(7, abs=0.1)


@virtual
async def test_a_probe_of_a_paused_endpoint_is_refused_also_while_it_is_held() -> None:
    async with stage() as s:
        held = asyncio.create_task(s.fleet.await_awake("chat", 100.0))
        await asyncio.sleep(1)
        await s.fleet.pause("chat", actor="ann")
        with pytest.raises(EndpointPaused):
            await held
        with pytest.raises(EndpointPaused):
            await s.fleet.await_awake("chat", 100.0)


@virtual
async def test_held_probes_are_bounded_and_do_not_take_the_place_of_requests() -> None:
    async with stage(spec(max_waiting=2)) as s:
        held = [asyncio.create_task(s.fleet.await_awake("chat", 100.0)) for _ in range(2)]
        await asyncio.sleep(1)
        with pytest.raises(QueueFull):
            await s.fleet.await_awake("chat", 100.0)
        await asyncio.gather(s.serve(), s.serve())
        for probe in held:
            (await probe).release()


@virtual
async def test_a_probe_whose_client_leaves_as_it_is_let_in_gives_its_place_back() -> None:
    async with stage() as s:
        probe = asyncio.create_task(s.fleet.await_awake("chat", 100.0))
        await asyncio.sleep(1)
        await s.fleet.wake("chat", actor="ann")
        while not s.fleet.endpoint("chat").in_flight and not probe.done():
            await asyncio.sleep(0)
            if s.phase() is Phase.STARTING:
                await asyncio.sleep(0.5)
        probe.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await probe).release()
        seen = s.fleet.endpoint("chat")
        assert (seen.in_flight, seen.last_activity) == (0, None)


@virtual
async def test_held_probes_hear_of_failed_starts_and_of_the_end() -> None:
    async with stage(spec(wake_attempts=1)) as s:
        s.provider.script("chat", "wake", Fault.BREAK)
        probe = asyncio.create_task(s.fleet.await_awake("chat", 100.0))
        with pytest.raises(WakeFailed):
            await s.serve()
        with pytest.raises(WakeFailed):
            await probe
        probe = asyncio.create_task(s.fleet.await_awake("chat", 100.0))
        await asyncio.sleep(1)
        await s.fleet.close(drain=0.0)
        with pytest.raises(ShuttingDown):
            await probe


@virtual
async def test_who_resumes_it_at_its_provider_ends_a_pause_that_stood() -> None:
    async with stage() as s:
        s.provider._capabilities = dataclasses.replace(s.provider.capabilities, pauses=True)
        await s.serve()
        await s.fleet.pause("chat", actor="ann")
        await s.fleet.settled("chat", Phase.SLEEPING, timeout=10)
        s.provider.set_state("chat", State.RUNNING)
        await asyncio.sleep(1)
        assert not s.fleet.endpoint("chat").paused
        await s.serve()
        assert s.provider.counts("chat") == (1, 1)
