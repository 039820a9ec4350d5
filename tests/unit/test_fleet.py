"""Controllers and the fleet over the memory provider, in simulated time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import Memory, MemoryJournal
from lamplighter.domain.endpoint import EngineSpec, Phase, Policy, Spec, State, Status
from lamplighter.domain.lifecycle import SETTLE_TIME
from lamplighter.errors import EndpointNotFound, QueueFull, ShuttingDown, WakeFailed, WakeTimeout
from lamplighter.providers.memory import Fault, MemoryProvider
from tests.virtual_time import BEGINNING, VirtualClock, virtual


def spec(
    name: str = "chat", *, replicas: int = 1, gpu: float = 0, aliases: tuple[str, ...] = (), **policy: Any
) -> Spec:
    return Spec(
        name=name,
        provider="memory",
        engine=EngineSpec(engine="none"),
        policy=Policy(**({"idle_timeout": 60.0} | policy)),
        replicas=replicas,
        resources={"gpu": gpu} if gpu else {},
        aliases=aliases,
    )


class Stage:
    def __init__(self, provider: MemoryProvider, journal: MemoryJournal) -> None:
        self.provider, self.journal, self.clock = provider, journal, VirtualClock()
        self.fleet = Fleet({"memory": provider}, journal, clock=self.clock)

    def phase(self, name: str = "chat") -> Phase:
        return self.fleet.endpoint(name).phase

    async def serve(self, name: str = "chat", seconds: float = 0.0, timeout: float | None = None) -> float:
        """Send one request; tells how long it was held."""
        claim = self.fleet.try_claim(name) or await self.fleet.claim(name, timeout)
        try:
            await asyncio.sleep(seconds)
        finally:
            claim.release()
        return claim.waited


@contextlib.asynccontextmanager
async def stage(
    *specs: Spec, journal: MemoryJournal | None = None, up: bool = False, **options: Any
) -> AsyncIterator[Stage]:
    """A fleet of these endpoints, `chat` by default; with `up` they run already when it opens."""
    played = Stage(MemoryProvider(**({"start_delay": 5.0, "stop_delay": 1.0} | options)), journal or MemoryJournal())
    for one in (specs or [spec()]) if up else ():
        await played.provider.create(one)
        played.provider.set_state(one.name, State.RUNNING)
    await played.fleet.open(specs or [spec()])
    await asyncio.sleep(0.01)
    try:
        yield played
    finally:
        await played.fleet.close(drain=0.0)


@virtual
async def test_a_request_wakes_a_sleeping_endpoint_is_held_and_then_served() -> None:
    async with stage() as s:
        assert s.phase() is Phase.SLEEPING
        assert await s.serve() == pytest.approx(5.0, abs=0.1)
        assert s.phase() is Phase.RUNNING


@virtual
async def test_two_thousand_requests_during_one_cold_start_cause_one_wake_and_all_are_served() -> None:
    async with stage() as s:
        waits = await asyncio.gather(*(s.serve() for _ in range(2000)))
        assert len(waits) == 2000
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_one_waiter_that_leaves_does_not_cancel_the_wake_of_the_others() -> None:
    async with stage() as s:
        leaver = asyncio.create_task(s.serve())
        stayer = asyncio.create_task(s.serve())
        await asyncio.sleep(1)
        leaver.cancel()
        assert await stayer == pytest.approx(5.0, abs=0.1)
        assert s.fleet.endpoint("chat").in_flight == 0


@virtual
async def test_a_wake_goes_on_when_its_only_waiter_leaves_and_then_idles_out() -> None:
    async with stage() as s:
        leaver = asyncio.create_task(s.serve())
        await asyncio.sleep(1)
        leaver.cancel()
        await asyncio.sleep(5)
        assert s.phase() is Phase.RUNNING
        await asyncio.sleep(62)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_grant_that_comes_as_its_waiter_leaves_is_handed_back() -> None:
    async with stage() as s:
        task = asyncio.create_task(s.fleet.claim("chat", None))
        while not s.fleet.endpoint("chat").in_flight:
            await asyncio.sleep(0)
            if not s.fleet.endpoint("chat").in_flight:
                await asyncio.sleep(0.5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            claim = await task
            claim.release()
        assert s.fleet.endpoint("chat").in_flight == 0


@virtual
async def test_the_idle_clock_starts_at_the_end_of_the_last_response() -> None:
    async with stage() as s:
        await s.serve(seconds=500)
        assert s.fleet.endpoint("chat").auto_sleep_in == pytest.approx(60, abs=0.1)
        await asyncio.sleep(59)
        assert s.phase() is Phase.RUNNING
        await asyncio.sleep(3)
        assert s.phase() is Phase.SLEEPING
        assert s.provider.counts("chat") == (1, 1)


@virtual
async def test_nothing_sleeps_while_a_stream_goes_on() -> None:
    async with stage() as s:
        streaming = asyncio.create_task(s.serve(seconds=1000))
        await asyncio.sleep(900)
        endpoint = s.fleet.endpoint("chat")
        assert endpoint.phase is Phase.RUNNING
        assert endpoint.held_by == ("1 in flight",)
        assert endpoint.auto_sleep_in is None
        await streaming


@virtual
async def test_a_request_that_comes_while_it_is_put_to_sleep_waits_for_the_next_wake() -> None:
    async with stage() as s:
        await s.serve()
        await asyncio.sleep(60.5)
        assert s.phase() is Phase.STOPPING
        assert await s.serve() == pytest.approx(5.5, abs=0.2)
        assert s.provider.counts("chat") == (2, 1)


@virtual
async def test_a_request_that_can_not_be_served_in_time_gets_the_expected_start_as_retry_after() -> None:
    async with stage(start_delay=100.0) as s:
        await s.serve(timeout=200)
        await asyncio.sleep(70)
        assert s.phase() is Phase.SLEEPING
        with pytest.raises(WakeTimeout) as caught:
            await s.serve(timeout=30)
        assert caught.value.retry_after == pytest.approx(70, abs=1)


@virtual
async def test_start_times_are_learned_and_survive_a_restart() -> None:
    journal = MemoryJournal()
    async with stage(journal=journal) as s:
        await s.serve()
    async with stage(journal=journal) as s:
        assert s.fleet.endpoint("chat").expected_start == pytest.approx(5, abs=0.1)


@virtual
async def test_the_idle_clock_goes_on_over_a_restart() -> None:
    journal = MemoryJournal()
    journal.memories["chat"] = Memory(last_activity=BEGINNING - 50, wake_time=BEGINNING - 500)
    async with stage(journal=journal, up=True) as s:
        await asyncio.sleep(1)
        assert s.fleet.endpoint("chat").auto_sleep_in == pytest.approx(9, abs=0.5)
        await asyncio.sleep(12)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_clock_that_is_set_back_neither_keeps_awake_nor_puts_to_sleep() -> None:
    async with stage() as s:
        await s.serve()
        s.clock.offset -= 86_400
        await asyncio.sleep(58)
        assert s.phase() is Phase.RUNNING
        await asyncio.sleep(5)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_refused_wake_is_tried_again_while_the_request_is_held() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", Fault.REFUSE)
        assert await s.serve() > 5.0
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_when_wakes_keep_failing_every_waiter_gets_the_reason_and_a_time_to_come_back() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", Fault.BREAK, Fault.BREAK)
        results = await asyncio.gather(*(s.serve() for _ in range(5)), return_exceptions=True)
        for result in results:
            assert isinstance(result, WakeFailed)
            assert "scripted to fail" in str(result)
            assert result.retry_after is not None
            assert result.retry_after >= 1
        assert s.phase() is Phase.ERROR


@virtual
async def test_after_failures_the_next_request_does_not_hammer_the_provider() -> None:
    async with stage(spec(wake_attempts=1, backoff_base=100)) as s:
        s.provider.script("chat", "wake", Fault.REFUSE)
        for _ in range(20):
            with pytest.raises(WakeFailed):
                await s.serve()
        assert len(s.provider.calls) == 1
        await asyncio.sleep(101)
        assert await s.serve() == pytest.approx(5, abs=0.1)


@virtual
async def test_a_failure_that_will_last_is_told_at_once() -> None:
    async with stage(spec(wake_attempts=9)) as s:
        s.provider.script("chat", "wake", Fault.REFUSE_FOR_GOOD)
        with pytest.raises(WakeFailed, match="refused"):
            await s.serve(timeout=1000)
        assert len(s.provider.calls) == 1


@virtual
async def test_a_wake_whose_answer_was_lost_starts_nothing_twice() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", Fault.LOSE_ANSWER)
        await s.serve()
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_a_wake_that_was_accepted_and_lost_is_told_again() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", Fault.LOSE)
        waited = await s.serve()
        assert SETTLE_TIME < waited < SETTLE_TIME + 10


@virtual
async def test_a_verb_that_never_returns_does_not_hold_the_controller_for_ever() -> None:
    async with stage() as s:
        s.provider.script("chat", "wake", Fault.HANG)
        assert 30 < await s.serve() < 40


@virtual
async def test_a_sleep_that_fails_is_tried_again_until_it_is_confirmed() -> None:
    async with stage() as s:
        await s.serve()
        s.provider.script("chat", "sleep", Fault.REFUSE, Fault.LOSE_ANSWER, Fault.REFUSE)
        await asyncio.sleep(90)
        assert s.phase() is Phase.SLEEPING
        assert s.provider.counts("chat")[1] == 1


@virtual
async def test_a_sleep_that_was_accepted_and_lost_is_told_again() -> None:
    async with stage() as s:
        await s.serve()
        s.provider.script("chat", "sleep", Fault.LOSE)
        await asyncio.sleep(60 + SETTLE_TIME + 5)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_when_the_provider_is_unreachable_nothing_is_guessed_and_what_runs_is_served() -> None:
    async with stage(reports_changes=False, look_every=10.0) as s:
        await s.serve()
        s.provider.script("chat", "observe", *[Fault.UNREACHABLE] * 8)
        await asyncio.sleep(30)
        endpoint = s.fleet.endpoint("chat")
        assert (endpoint.phase, endpoint.state) == (Phase.UNKNOWN, State.RUNNING)
        assert await s.serve() == 0.0
        await asyncio.sleep(600)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_polled_provider_is_looked_at_more_often_while_something_changes() -> None:
    async with stage(reports_changes=False, look_every=60.0) as s:
        assert await s.serve() == pytest.approx(6.0, abs=0.1)  # nothing is known of how long a start takes
        await s.fleet.sleep("chat", actor="me")
        await s.fleet.settled("chat", Phase.SLEEPING, timeout=60)
        assert await s.serve() == pytest.approx(5.0, abs=0.6)


@virtual
async def test_a_crash_is_healed_when_somebody_comes_and_reported_until_then() -> None:
    async with stage() as s:
        await s.serve()
        await asyncio.sleep(40)
        s.provider.set_state("chat", State.FAILED, message="killed by SIGKILL")
        await asyncio.sleep(0.1)
        endpoint = s.fleet.endpoint("chat")
        assert (endpoint.phase, endpoint.message) == (Phase.ERROR, "killed by SIGKILL")
        assert await s.serve() == pytest.approx(5.0, abs=0.1)


@virtual
async def test_an_engine_that_dies_right_after_each_start_is_not_started_in_a_tight_loop() -> None:
    async with stage(spec(keep_warm=True), start_delay=0.1) as s:
        for _ in range(200):
            await asyncio.sleep(0.5)
            if s.phase() is Phase.RUNNING:
                s.provider.set_state("chat", State.FAILED, message="dies at once")
        assert s.provider.counts("chat")[0] < 12


@virtual
async def test_a_lost_replica_is_brought_back_while_the_others_serve() -> None:
    async with stage(spec(replicas=2)) as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=30))
        await asyncio.sleep(0.1)
        s.provider.set_state("chat", State.RUNNING, replicas=1)
        assert await s.serve() == 0.0
        await asyncio.sleep(10)
        assert len(s.fleet.endpoint("chat").replicas) == 2
        await streaming


@virtual
async def test_requests_go_to_the_replica_with_the_fewest_in_flight() -> None:
    async with stage(spec(replicas=3)) as s:
        claims = [await s.fleet.claim("chat", None) for _ in range(6)]
        assert sorted(claim.replica.id for claim in claims) == sorted(["chat-0", "chat-1", "chat-2"] * 2)
        for claim in claims:
            claim.release()


@virtual
async def test_the_queue_of_waiters_is_bounded() -> None:
    async with stage(spec(max_waiting=3)) as s:
        held = [asyncio.create_task(s.serve()) for _ in range(3)]
        await asyncio.sleep(0.1)
        with pytest.raises(QueueFull):
            await s.serve()
        await asyncio.gather(*held)


@virtual
async def test_an_operator_wakes_and_sleeps_and_both_are_on_record() -> None:
    async with stage() as s:
        assert (await s.fleet.wake("chat", actor="ann")).phase is Phase.STARTING
        assert (await s.fleet.settled("chat", Phase.RUNNING, timeout=10)).phase is Phase.RUNNING
        await s.fleet.sleep("chat", actor="bob")
        assert (await s.fleet.settled("chat", Phase.SLEEPING, timeout=10)).phase is Phase.SLEEPING
        assert [(o.actor, o.operation) for o in s.journal.operations] == [
            ("ann", "ask wake"),
            ("ann", "wake"),
            ("bob", "ask sleep"),
            ("bob", "sleep"),
        ]
        changes = [(t.before, t.after, t.actor) for t in s.journal.transitions]
        assert changes == [
            (None, State.SCALED_TO_ZERO, "provider"),
            (State.SCALED_TO_ZERO, State.INITIALIZING, "ann"),
            (State.INITIALIZING, State.RUNNING, "ann"),
            (State.RUNNING, State.SCALED_TO_ZERO, "bob"),
        ]


@virtual
async def test_an_operators_sleep_waits_for_what_is_in_flight() -> None:
    async with stage() as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=20))
        await asyncio.sleep(1)
        await s.fleet.sleep("chat", actor="ann")
        await asyncio.sleep(10)
        assert s.phase() is Phase.RUNNING
        await streaming
        await asyncio.sleep(2)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_warm_endpoint_that_an_operator_put_to_sleep_stays_so_until_somebody_comes() -> None:
    async with stage(spec(keep_warm=True)) as s:
        await asyncio.sleep(10)
        assert s.phase() is Phase.RUNNING
        await s.fleet.sleep("chat", actor="ann")
        await asyncio.sleep(100)
        assert s.phase() is Phase.SLEEPING
        await s.serve()
        await asyncio.sleep(1000)
        assert s.phase() is Phase.RUNNING


@virtual
async def test_the_least_recently_used_idle_endpoint_makes_room() -> None:
    async with stage(spec("a", gpu=1), spec("b", gpu=1), spec("c", gpu=1), resources={"gpu": 2}) as s:
        await s.serve("a")
        await asyncio.sleep(1)
        await s.serve("b")
        await s.serve("c")
        assert (s.phase("a"), s.phase("b"), s.phase("c")) == (Phase.SLEEPING, Phase.RUNNING, Phase.RUNNING)


@virtual
async def test_a_wake_waits_for_room_until_the_holder_is_quiet() -> None:
    async with stage(spec("a", gpu=1), spec("b", gpu=1), resources={"gpu": 1}) as s:
        busy = asyncio.create_task(s.serve("a", seconds=50))
        await asyncio.sleep(10)
        waiting = asyncio.create_task(s.serve("b"))
        await asyncio.sleep(10)
        assert s.fleet.endpoint("b").message == "waits for room, held by a"
        await busy
        assert await waiting == pytest.approx(51, abs=1.5)


@virtual
async def test_a_wake_that_gets_no_room_in_time_says_what_holds_it() -> None:
    async with stage(spec("a", gpu=1), spec("b", gpu=1), resources={"gpu": 1}) as s:
        busy = asyncio.create_task(s.serve("a", seconds=500))
        await asyncio.sleep(10)
        with pytest.raises(WakeTimeout, match="held by a"):
            await s.serve("b", timeout=20)
        await busy
        await asyncio.sleep(10)
        assert s.phase("b") is Phase.SLEEPING, "nobody waits for it any more"
        assert s.phase("a") is Phase.RUNNING, "nor has anybody a reason to put the other out"


@virtual
async def test_two_endpoints_that_fight_for_room_both_get_their_turn() -> None:
    async with stage(spec("a", gpu=1), spec("b", gpu=1), resources={"gpu": 1}) as s:
        names = ["a", "b"] * 10
        waits = await asyncio.gather(*(s.serve(name, seconds=1.0) for name in names))
        assert len(waits) == 20
        await asyncio.gather(*(s.serve(name, seconds=1.0) for name in names))


@virtual
async def test_what_can_never_fit_fails_at_once() -> None:
    async with stage(spec("big", gpu=4), resources={"gpu": 2}) as s:
        with pytest.raises(WakeFailed, match="it needs 4 gpu, the provider has 2"):
            await s.serve("big")


@virtual
async def test_an_unknown_name_is_an_error_with_near_matches() -> None:
    async with stage(spec(aliases=("smol/chat",))) as s:
        with pytest.raises(EndpointNotFound, match="Did you mean 'chat'"):
            s.fleet.endpoint("chatt")
        assert s.fleet.resolve("smol/chat") == "chat"


@virtual
async def test_a_request_learns_no_names_as_its_key_may_be_bound_to_few() -> None:
    async with stage(spec("secret"), spec("chat")) as s:
        for ask in (s.fleet.claim("chatt", None), s.fleet.await_awake("chatt", 1.0)):
            with pytest.raises(EndpointNotFound) as caught:
                await ask
            assert caught.value.message == "There is no endpoint or model 'chatt'."
            assert caught.value.known == []
        for look in (s.fleet.want, s.fleet.expected_wait, s.fleet.idle_timeout, s.fleet.is_public):
            with pytest.raises(EndpointNotFound, match=r"'chatt'\.$"):
                look("chatt")


@virtual
async def test_a_new_policy_is_taken_without_touching_the_process() -> None:
    async with stage() as s:
        await s.serve()
        s.fleet.change(spec(idle_timeout=500.0))
        await asyncio.sleep(300)
        assert s.phase() is Phase.RUNNING
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_a_new_engine_replaces_the_process_after_the_last_request_and_drops_none() -> None:
    async with stage() as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=20))
        await asyncio.sleep(1)
        s.fleet.change(dataclasses.replace(spec(), engine=EngineSpec(engine="none", args=("--new",))))
        held = asyncio.create_task(s.serve())
        await asyncio.sleep(10)
        assert not held.done()
        await streaming
        assert await held == pytest.approx(20 - 1 + 1 + 5, abs=1)
        assert s.fleet.endpoint("chat").spec.engine.args == ("--new",)
        assert s.provider.counts("chat") == (2, 1)


@virtual
async def test_a_removed_endpoint_serves_what_it_has_sleeps_and_is_gone() -> None:
    async with stage() as s:
        held = asyncio.create_task(s.serve())
        await asyncio.sleep(1)
        s.fleet.remove("chat")
        with pytest.raises(EndpointNotFound):
            await s.fleet.claim("chat", None)
        assert await held == pytest.approx(5, abs=0.1)
        await asyncio.sleep(3)
        with pytest.raises(EndpointNotFound):
            await s.provider.observe("chat")


@virtual
async def test_an_endpoint_that_was_removed_can_come_back_under_its_name() -> None:
    async with stage() as s:
        await s.serve()
        s.fleet.remove("chat")
        await s.fleet.apply({"chat": spec()})
        assert await s.serve() == pytest.approx(6, abs=0.2), "the old one has to end first"
        assert s.provider.counts("chat") == (1, 0), "a new endpoint, not the old one"


@virtual
async def test_shutdown_serves_whom_it_can_and_tells_the_others() -> None:
    async with stage(spec("fast"), spec("slow")) as s:
        s.provider.script("slow", "wake", Fault.LOSE)
        fast = asyncio.create_task(s.serve("fast"))
        slow = asyncio.create_task(s.serve("slow"))
        await asyncio.sleep(1)
        await s.fleet.close(drain=10)
        assert await fast == pytest.approx(5, abs=0.1)
        with pytest.raises(ShuttingDown):
            await slow


@virtual
async def test_a_lease_keeps_awake_and_its_end_starts_the_idle_clock() -> None:
    async with stage() as s:
        s.fleet.hold("chat", "session-1")
        await asyncio.sleep(500)
        assert s.fleet.endpoint("chat").held_by == ("1 lease",)
        s.fleet.let_go("chat", "session-1")
        await asyncio.sleep(58)
        assert s.phase() is Phase.RUNNING
        await asyncio.sleep(5)
        assert s.phase() is Phase.SLEEPING


@virtual
async def test_a_controller_that_breaks_is_started_again_and_reported() -> None:
    async with stage() as s:
        await s.serve()

        async def broken(name: str, into: State = State.SCALED_TO_ZERO) -> None:
            raise RuntimeError("a bug in a plug-in")

        honest, s.provider.sleep = s.provider.sleep, broken  # type: ignore[method-assign]
        await asyncio.sleep(60.5)
        assert "a bug in a plug-in" in s.fleet.troubles["chat"]
        s.provider.sleep = honest  # type: ignore[method-assign]
        await asyncio.sleep(SETTLE_TIME + 10)
        assert s.phase() is Phase.SLEEPING
        assert not s.fleet.troubles, "what works again is no trouble"


@virtual
async def test_a_replica_that_does_not_answer_is_set_aside_until_the_provider_was_asked() -> None:
    async with stage(spec(replicas=2)) as s:
        await s.serve()
        await asyncio.sleep(10)
        bad = await s.fleet.claim("chat", None)
        bad.failed()
        bad.release()
        others = [s.fleet.try_claim("chat") for _ in range(3)]
        assert {claim.replica.id for claim in others if claim} == {"chat-1"}
        await asyncio.sleep(0.1)
        assert len(s.fleet.endpoint("chat").replicas) == 2, "the provider says that it is well"
        again = s.fleet.try_claim("chat")
        assert again is not None
        assert again.replica.id == "chat-0"
        for claim in (*others, again):
            assert claim is not None
            claim.release()


@virtual
async def test_a_burst_of_failures_is_not_a_burst_of_looks() -> None:
    async with stage() as s:
        await s.serve()
        looks = 0
        observe = s.provider.observe

        async def counting(name: str) -> Status:
            nonlocal looks
            looks += 1
            return await observe(name)

        s.provider.observe = counting  # type: ignore[method-assign]
        began = s.clock.now()
        for _ in range(20):
            claim = await s.fleet.claim("chat", None)
            claim.failed()
            claim.release()
        assert looks >= 18
        assert s.clock.now() - began >= looks - 1, "at most one a second"
        assert s.fleet.endpoint("chat").phase is Phase.RUNNING


@virtual
async def test_a_reload_applies_only_what_differs_and_refuses_what_can_not_be() -> None:
    async with stage(spec("a"), spec("b")) as s:
        await s.serve("a")
        elsewhere = dataclasses.replace(spec("c"), provider="new")
        refused = await s.fleet.apply({"a": spec("a"), "c": elsewhere, "d": spec("d")})
        assert list(refused) == ["c"]
        assert "restart" in refused["c"]
        await asyncio.sleep(1)
        assert [endpoint.spec.name for endpoint in s.fleet.endpoints()] == ["a", "d"]
        assert s.provider.counts("a") == (1, 0)


@virtual
async def test_the_last_activity_does_not_drift_while_nothing_happens() -> None:
    async with stage() as s:
        await s.serve()
        first = s.fleet.endpoint("chat").last_activity
        s.clock.offset += 0.001
        assert s.fleet.endpoint("chat").last_activity == first
