"""Leases over real controllers and the memory provider, in simulated time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.leases import MOST_PER_ENDPOINT, LeaseKeeper
from lamplighter.domain.endpoint import EngineSpec, Phase, Policy, Spec, State
from lamplighter.errors import EndpointNotFound, InvalidInput, NotFound, QueueFull, StoreError
from lamplighter.providers.memory import MemoryProvider
from lamplighter.store import SavedLease
from tests.virtual_time import VirtualClock, virtual


class Shelf:
    """Where leases are kept while servers come and go; `broken` makes it fail like a full disk."""

    def __init__(self) -> None:
        self.saved: dict[str, SavedLease] = {}
        self.broken = False

    async def save_lease(self, saved: SavedLease) -> None:
        await asyncio.sleep(0)
        self._fail()
        self.saved[saved.lease] = saved

    async def load_leases(self) -> list[SavedLease]:
        return list(self.saved.values())

    async def forget_lease(self, lease: str) -> None:
        await asyncio.sleep(0)
        self._fail()
        self.saved.pop(lease, None)

    def _fail(self) -> None:
        if self.broken:
            raise StoreError("disk full")


class Stage:
    def __init__(self, shelf: Shelf, provider: MemoryProvider, journal: MemoryJournal) -> None:
        self.shelf, self.provider, self.journal, self.clock = shelf, provider, journal, VirtualClock()
        self.fleet = Fleet({"memory": provider}, journal, clock=self.clock)
        self.keeper = LeaseKeeper(self.fleet, shelf, journal, self.clock)

    @property
    def phase(self) -> Phase:
        return self.fleet.endpoint("chat").phase

    @property
    def state(self) -> State | None:
        return self.fleet.endpoint("chat").state

    async def lease(self, *, ttl: float = 60.0, pause: bool = True, holder: str = "me") -> str:
        return (await self.keeper.open("chat", holder=holder, ttl=ttl, pause_at_end=pause, actor="test")).id


def spec(name: str = "chat", **policy: Any) -> Spec:
    return Spec(
        name=name,
        provider="memory",
        engine=EngineSpec(engine="none"),
        policy=Policy(**({"idle_timeout": 30.0} | policy)),
        aliases=("mert",),
    )


@contextlib.asynccontextmanager
async def stage(
    shelf: Shelf | None = None, provider: MemoryProvider | None = None, journal: MemoryJournal | None = None
) -> AsyncIterator[Stage]:
    played = Stage(
        shelf or Shelf(), provider or MemoryProvider(start_delay=5.0, stop_delay=1.0), journal or MemoryJournal()
    )
    await played.fleet.open([spec()])
    await played.keeper.start()
    await asyncio.sleep(0.01)
    try:
        yield played
    finally:
        await played.keeper.close()
        await played.fleet.close(drain=0.0)


@virtual
async def test_a_lease_wakes_the_endpoint_and_keeps_it_awake_far_beyond_its_idle_timeout() -> None:
    async with stage() as s:
        lease = await s.lease()
        for _ in range(10):
            await asyncio.sleep(40)
            assert s.phase is Phase.RUNNING
            await s.keeper.renew(lease)
        assert s.fleet.endpoint("chat").held_by == ("1 lease",)


@virtual
async def test_a_lease_whose_heartbeats_stop_ends_at_its_ttl_and_the_endpoint_is_paused() -> None:
    async with stage() as s:
        await s.lease(ttl=20.0)
        await asyncio.sleep(19.9)
        assert s.phase is Phase.RUNNING
        await asyncio.sleep(0.2)
        assert s.fleet.endpoint("chat").paused
        await asyncio.sleep(1.5)
        assert s.state is State.PAUSED
        assert not s.keeper.list()
        assert not s.shelf.saved


@virtual
async def test_the_last_one_out_pauses_and_no_other() -> None:
    async with stage() as s:
        first, second = await s.lease(), await s.lease()
        await asyncio.sleep(6)
        await s.keeper.end(first, actor="test")
        await asyncio.sleep(5)
        assert s.phase is Phase.RUNNING
        await s.keeper.end(second, actor="test")
        await asyncio.sleep(2)
        assert s.state is State.PAUSED


@virtual
async def test_without_a_wish_to_pause_the_endpoint_is_left_to_its_idle_timeout() -> None:
    async with stage() as s:
        lease = await s.lease(pause=False)
        await asyncio.sleep(6)
        await s.keeper.end(lease, actor="test")
        await asyncio.sleep(29)
        assert s.phase is Phase.RUNNING
        await asyncio.sleep(3)
        assert s.state is State.SCALED_TO_ZERO


@virtual
async def test_the_wish_to_pause_of_one_who_left_is_carried_out_by_the_last_one_also_over_a_restart() -> None:
    shelf, provider = Shelf(), MemoryProvider(start_delay=1.0)
    async with stage(shelf, provider) as s:
        first, second = await s.lease(), await s.lease(pause=False)
        await s.keeper.end(first, actor="test")
    async with stage(shelf, provider) as s:
        await asyncio.sleep(2)
        assert s.phase is Phase.RUNNING
        await s.keeper.end(second, actor="test")
        await asyncio.sleep(1)
        assert s.state is State.PAUSED


@virtual
async def test_leases_survive_a_restart_and_end_when_they_would_have_ended() -> None:
    shelf, provider = Shelf(), MemoryProvider(start_delay=1.0)
    async with stage(shelf, provider) as s:
        lease = await s.lease(ttl=60.0)
        await asyncio.sleep(20)
    await asyncio.sleep(10)
    async with stage(shelf, provider) as s:
        assert [held.id for held in s.keeper.list("mert")] == [lease]
        await asyncio.sleep(25)
        assert s.phase is Phase.RUNNING
        await asyncio.sleep(10)
        assert s.state is State.PAUSED


@virtual
async def test_a_lease_that_expired_while_the_server_was_down_ends_at_once_and_pauses() -> None:
    shelf, provider = Shelf(), MemoryProvider(start_delay=1.0)
    async with stage(shelf, provider) as s:
        lease = await s.lease(ttl=10.0)
        await asyncio.sleep(2)
    await asyncio.sleep(100)
    async with stage(shelf, provider) as s:
        await asyncio.sleep(1)
        assert s.fleet.endpoint("chat").paused
        with pytest.raises(NotFound, match="ended"):
            await s.keeper.renew(lease)


@virtual
async def test_a_pause_ends_the_leases_and_a_heartbeat_then_says_so() -> None:
    shelf = Shelf()
    provider = MemoryProvider(start_delay=1.0)
    async with stage(shelf, provider) as s:
        lease = await s.lease()
        await asyncio.sleep(2)
        await s.fleet.pause("chat", actor="somebody")
        assert not s.keeper.list()
        with pytest.raises(NotFound, match="ended"):
            await s.keeper.renew(lease)
        await s.fleet.resume("chat", actor="somebody")
        await asyncio.sleep(100)  # also past the moment at which the lease would have expired
        assert not s.fleet.endpoint("chat").paused


@virtual
async def test_a_pause_is_not_undone_by_leases_that_a_restart_finds() -> None:
    shelf, provider, journal = Shelf(), MemoryProvider(start_delay=1.0), MemoryJournal()
    async with stage(shelf, provider, journal) as s:
        await s.lease()
        await asyncio.sleep(2)
        await s.fleet.pause("chat", actor="somebody")
        await asyncio.sleep(2)
        kept = dict(shelf.saved)
    shelf.saved = kept
    async with stage(shelf, provider, journal) as s:
        await asyncio.sleep(5)
        assert s.state is State.PAUSED
        assert not s.keeper.list()


@virtual
async def test_a_lease_on_a_paused_endpoint_resumes_it() -> None:
    async with stage() as s:
        await s.fleet.pause("chat", actor="somebody")
        await asyncio.sleep(1)
        await s.lease()
        await asyncio.sleep(6)
        assert s.phase is Phase.RUNNING


@virtual
async def test_a_lease_ends_with_its_endpoint() -> None:
    async with stage() as s:
        lease = await s.lease()
        s.fleet.remove("chat")
        assert not s.keeper.list()
        with pytest.raises(NotFound):
            await s.keeper.renew(lease)
        await asyncio.sleep(70)
        assert not s.shelf.saved


@virtual
async def test_ending_twice_is_no_error_and_an_unknown_lease_is() -> None:
    async with stage() as s:
        lease = await s.lease()
        ends = await asyncio.gather(*(s.keeper.end(lease, actor="test") for _ in range(3)))
        assert {ended.id for ended in ends} == {lease}
        assert (await s.keeper.end(lease, actor="test")).id == lease
        assert sum(record.operation == "end lease" for record in s.journal.operations) == 1
        with pytest.raises(NotFound):
            await s.keeper.end("nonsense", actor="test")


@virtual
async def test_who_comes_while_the_last_one_leaves_finds_it_awake_in_the_end() -> None:
    async with stage() as s:
        first = await s.lease()
        await asyncio.sleep(6)
        await asyncio.gather(s.keeper.end(first, actor="test"), s.lease())
        await asyncio.sleep(10)
        assert s.phase is Phase.RUNNING


@virtual
async def test_a_lease_is_on_record_before_it_is_given() -> None:
    async with stage() as s:
        s.shelf.broken = True
        with pytest.raises(StoreError):
            await s.lease()
        assert not s.keeper.list()
        await asyncio.sleep(10)
        assert s.phase is Phase.SLEEPING


@virtual
async def test_a_database_that_fails_neither_ends_a_session_nor_keeps_one_for_ever() -> None:
    async with stage() as s:
        lease = await s.lease(ttl=20.0)
        s.shelf.broken = True
        for _ in range(5):
            await asyncio.sleep(10)
            await s.keeper.renew(lease)
        assert s.phase is Phase.RUNNING
        await asyncio.sleep(21)
        assert s.fleet.endpoint("chat").paused
        s.shelf.broken = False
        await asyncio.sleep(6)
        assert not s.shelf.saved


@virtual
async def test_setting_the_clock_of_the_machine_ends_no_lease() -> None:
    async with stage() as s:
        lease = await s.lease(ttl=60.0)
        s.clock.offset += 86400
        await asyncio.sleep(30)
        await s.keeper.renew(lease)
        s.clock.offset -= 2 * 86400
        await asyncio.sleep(50)
        assert s.phase is Phase.RUNNING
        await asyncio.sleep(11)
        assert s.fleet.endpoint("chat").paused


@virtual
async def test_what_is_asked_for_is_checked() -> None:
    async with stage() as s:
        for ttl in (4.9, 3600.1, float("nan"), float("inf"), -1.0):
            with pytest.raises(InvalidInput, match="between 5 and 3600"):
                await s.lease(ttl=ttl)
        for holder in ("", " ", "x" * 201, "two\nlines"):
            with pytest.raises(InvalidInput, match="holder"):
                await s.lease(holder=holder)
        with pytest.raises(EndpointNotFound):
            await s.keeper.open("chta", holder="me", ttl=10, pause_at_end=True, actor="test")
        assert not s.shelf.saved


@virtual
async def test_there_is_a_bound_on_leases_of_one_endpoint() -> None:
    async with stage() as s:
        for _ in range(MOST_PER_ENDPOINT):
            await s.lease()
        with pytest.raises(QueueFull, match="1000"):
            await s.lease()
        await s.fleet.pause("chat", actor="somebody")
        await s.lease()  # those that ended make room
        assert len(s.shelf.saved) == 1


@virtual
async def test_begin_end_and_expiry_are_in_the_audit_log_with_the_holder() -> None:
    async with stage() as s:
        first = await s.lease(holder="ada@lab pid 7")
        await s.lease(ttl=5.0, holder="bob@lab pid 8")
        await asyncio.sleep(6)
        await s.keeper.end(first, actor="key:1234")
        told = [(r.operation, r.actor, r.change) for r in s.journal.operations if "lease" in r.operation]
        assert [operation for operation, _, _ in told] == ["begin lease", "begin lease", "expire lease", "end lease"]
        assert told[-1][1] == "key:1234"
        assert "ada@lab pid 7" in str(told[-1][2])
        assert not any(first in str(record) for record in s.journal.operations)
