"""A wake that comes to nothing is on record, on behalf of whoever asked for it; one that comes up has no such record."""

from __future__ import annotations

import asyncio

from lamplighter.domain.endpoint import Phase, State
from lamplighter.providers.memory import Fault
from tests.unit.test_fleet import Stage, spec, stage
from tests.virtual_time import virtual

Row = tuple[str, str, bool]


def rows(s: Stage, name: str = "chat") -> list[Row]:
    """What is on record of wakes: operation, actor, whether it went well."""
    seen = (one for one in s.journal.operations if one.endpoint == name and "wake" in one.operation)
    return [(one.operation, one.actor, one.success) for one in seen]


def why(s: Stage, name: str = "chat") -> list[str | None]:
    return [one.error for one in s.journal.operations if one.endpoint == name and "not confirmed" in one.operation]


ASKED: Row = ("ask wake", "ann", True)
BEGUN: Row = ("wake", "ann", True)
UNMET: Row = ("wake not confirmed", "ann", False)


@virtual
async def test_a_start_that_fails_is_on_record_once_an_attempt() -> None:
    async with stage(spec(wake_attempts=2)) as s:
        s.provider.script("chat", "wake", Fault.BREAK, Fault.BREAK)
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(300)
        assert rows(s) == [ASKED, BEGUN, UNMET, BEGUN, UNMET]
        assert all(why(s))


@virtual
async def test_a_wake_that_is_accepted_and_never_begun_is_on_record() -> None:
    async with stage(spec(idle_timeout=None)) as s:
        s.provider.script("chat", "wake", Fault.LOSE)
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(100)
        assert rows(s) == [ASKED, BEGUN, UNMET, BEGUN]
        assert why(s) == ["the provider accepted the wake and never began it"]
        assert s.phase() is Phase.RUNNING


@virtual
async def test_one_that_is_refused_is_on_record_as_such_alone() -> None:
    async with stage(spec(wake_attempts=1)) as s:
        s.provider.script("chat", "wake", Fault.REFUSE)
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(100)
        assert rows(s) == [ASKED, ("wake", "ann", False)]


@virtual
async def test_one_that_takes_longer_than_a_request_would_wait_is_on_record_once_and_goes_on() -> None:
    async with stage(spec(wake_timeout=60.0, idle_timeout=None), start_delay=500.0) as s:
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(400)
        assert rows(s) == [ASKED, BEGUN, UNMET]
        assert why(s) == ["not up after 60 s: it is starting"]
        await s.fleet.wake("chat", actor="bob")
        await asyncio.sleep(300)
        assert rows(s) == [ASKED, BEGUN, UNMET, ("ask wake", "bob", True), ("wake not confirmed", "bob", False)]
        assert s.phase() is Phase.RUNNING


@virtual
async def test_one_whose_provider_can_not_be_asked_is_on_record_as_well() -> None:
    async with stage(spec(wake_timeout=60.0), start_delay=30.0) as s:
        s.provider.script("chat", "observe", *[Fault.UNREACHABLE] * 100)
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(600)
        assert rows(s)[-1] == UNMET
        assert "could not be asked" in str(why(s))


@virtual
async def test_one_that_finds_no_room_in_time_or_never_fits_is_on_record() -> None:
    specs = spec("a", gpu=1), spec("b", gpu=1, wake_timeout=60.0), spec("c", gpu=2)
    async with stage(*specs, resources={"gpu": 1}) as s:
        busy = asyncio.create_task(s.serve("a", seconds=500))
        await asyncio.sleep(10)
        await s.fleet.wake("b", actor="ann")
        await s.fleet.wake("c", actor="ann")
        await asyncio.sleep(200)
        assert rows(s, "b") == rows(s, "c") == [ASKED, UNMET]
        assert "held by a" in str(why(s, "b"))
        assert "it can't fit" in str(why(s, "c"))
        await busy


@virtual
async def test_a_request_s_wake_that_fails_is_on_record_too() -> None:
    async with stage(spec(wake_attempts=1)) as s:
        s.provider.script("chat", "wake", Fault.BREAK)
        asking = asyncio.create_task(s.serve())
        await asyncio.wait([asking], timeout=100)
        assert asking.exception() is not None
        assert rows(s) == [("wake", "request", True), ("wake not confirmed", "request", False)]


@virtual
async def test_one_that_comes_up_or_is_called_off_or_dies_later_has_no_such_record() -> None:
    async with stage() as s:
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(10)
        await s.fleet.sleep("chat", actor="ann")
        await asyncio.sleep(10)
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(1)
        await s.fleet.pause("chat", actor="ann")
        await asyncio.sleep(100)
        await s.fleet.wake("chat", actor="ann")
        await asyncio.sleep(50)
        s.provider.set_state("chat", State.FAILED)
        await asyncio.sleep(100)
        assert why(s) == []
