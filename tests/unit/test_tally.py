"""What becomes of endpoints is counted: by whom they were woken, how that ended, and which stops failed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lamplighter.control import tally as tallies
from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.tally import Tallied, Tally
from lamplighter.domain.endpoint import EngineSpec, Policy, Spec, State
from lamplighter.errors import EndpointNotFound, WakeFailed
from lamplighter.providers.memory import Fault, MemoryProvider
from lamplighter.store import AuditRecord
from tests.virtual_time import VirtualClock, virtual

START = 5.0
STOP = 1.0


class Played:
    def __init__(self, **options: Any) -> None:
        self.provider = MemoryProvider(start_delay=START, stop_delay=STOP, **options)
        self.journal, clock = MemoryJournal(), VirtualClock()
        self.tally = Tally(self.journal, clock)
        self.fleet = Fleet({"memory": self.provider}, self.tally, clock=clock)

    @property
    def chat(self) -> Tallied:
        (counted,) = self.tally.of_all()
        return counted

    async def ask(self) -> None:
        (self.fleet.try_claim("chat") or await self.fleet.claim("chat", None)).release()


@contextlib.asynccontextmanager
async def played(**options: Any) -> AsyncIterator[Played]:
    policy = Policy(idle_timeout=60.0, wake_attempts=2)
    here = Played(**options)
    await here.fleet.open([Spec(name="chat", provider="memory", engine=EngineSpec(engine="none"), policy=policy)])
    await asyncio.sleep(0.01)
    try:
        yield here
    finally:
        await here.fleet.close(drain=0.0)


@virtual
async def test_a_request_wakes_and_the_policy_puts_to_sleep():
    async with played() as here:
        await here.ask()
        await asyncio.sleep(70)
        counted = here.chat
    assert counted.wakes == {("request", "ready"): 1}
    assert counted.sleeps == {"policy": 1}
    assert counted.states[State.RUNNING] == 1
    assert counted.failed_stops == 0
    assert counted.starts.count == 1
    assert counted.starts.total == pytest.approx(START, abs=1)
    assert counted.awake_seconds == pytest.approx(START + 60 + STOP, abs=2)
    assert [one.after for one in here.journal.transitions][-1] is State.SCALED_TO_ZERO


@virtual
async def test_what_an_operator_does_is_told_from_the_rest():
    async with played() as here:
        await here.fleet.wake("chat", actor="key:0123abcd")
        await asyncio.sleep(10)
        await here.fleet.sleep("chat", actor="api")
        await asyncio.sleep(10)
        assert here.chat.wakes == {("operator", "ready"): 1}
        assert here.chat.sleeps == {"operator": 1}


@virtual
async def test_every_way_in_which_a_wake_fails_has_its_word():
    async with played() as here:
        here.provider.script("chat", "wake", Fault.REFUSE, Fault.LOSE, Fault.BREAK)
        for _ in range(4):
            with contextlib.suppress(WakeFailed):
                await here.ask()
            await asyncio.sleep(300)
        wakes = dict(here.chat.wakes)
    assert wakes.pop(("request", "ready")) >= 1
    assert wakes == {("request", word): 1 for word in ("refused", "lost", "failed")}


@virtual
async def test_stops_that_fail_or_are_lost_are_counted_until_one_works():
    async with played() as here:
        await here.ask()
        here.provider.script("chat", "sleep", Fault.REFUSE, Fault.LOSE)
        await asyncio.sleep(900)
        counted = here.chat
    assert counted.failed_stops == 2
    assert counted.sleeps == {"policy": 1}


@virtual
async def test_what_somebody_does_at_the_provider_is_told_from_the_rest():
    async with played() as here:
        here.provider.set_state("chat", State.RUNNING)
        await asyncio.sleep(20)
        here.provider.set_state("chat", State.SCALED_TO_ZERO)
        await asyncio.sleep(20)
        counted = here.chat
    assert counted.wakes == {("provider", "ready"): 1}
    assert counted.sleeps == {"provider": 1}
    assert counted.starts.count == 0


@virtual
async def test_an_endpoint_that_ran_before_we_came_was_woken_by_nobody():
    here = Played()
    one = Spec(name="chat", provider="memory", engine=EngineSpec(engine="none"))
    await here.provider.create(one)
    here.provider.set_state("chat", State.RUNNING)
    await here.fleet.open([one])
    await asyncio.sleep(10)
    assert here.chat.wakes == {}
    assert here.chat.awake_seconds == pytest.approx(10, abs=1)
    await here.fleet.close(drain=0.0)


@virtual
async def test_an_endpoint_that_is_taken_out_takes_its_figures_with_it():
    async with played() as here:
        await here.ask()
        await here.fleet.remove_and_wait("chat", timeout=100)
        assert here.tally.of_all() == []
        with pytest.raises(EndpointNotFound):
            await here.fleet.wake("chat", actor="api")
        assert here.tally.of_all() == []


async def test_endpoints_that_come_and_go_take_no_room_for_ever(monkeypatch):
    monkeypatch.setattr(tallies, "MOST_ENDPOINTS", 3)
    tally = Tally(MemoryJournal(), VirtualClock())
    for number in range(10):
        await tally.started(f"e{number}", 1.0, 2.0)
    assert [one.endpoint for one in tally.of_all()] == ["e7", "e8", "e9"]


async def test_what_is_asked_of_unknown_names_is_not_counted():
    journal = MemoryJournal()
    tally = Tally(journal, VirtualClock())
    record = AuditRecord(at=1.0, actor="api", operation="sleep", endpoint="nobody", success=False)
    await tally.operation(record)
    assert tally.of_all() == []
    assert list(journal.operations) == [record]
