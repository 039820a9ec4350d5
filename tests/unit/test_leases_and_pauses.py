"""Sessions that begin while somebody pauses: either the lease counts and the endpoint is awake, or neither.

In simulated time, with a journal that takes a while, as a busy database does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from lamplighter.control.journal import MemoryJournal
from lamplighter.domain.endpoint import Endpoint, Phase, State
from lamplighter.errors import EndpointNotFound, EndpointPaused, NotFound
from lamplighter.providers.memory import MemoryProvider
from lamplighter.store import AuditRecord
from tests.unit.test_leases import Stage, spec, stage
from tests.virtual_time import virtual


class Busy(MemoryJournal):
    """Each record takes a time of its own; `until` holds the next record of this operation back."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self.until: dict[str, asyncio.Event] = {}

    async def operation(self, record: AuditRecord) -> None:
        if (event := self.until.pop(record.operation, None)) is not None:
            await event.wait()
        await asyncio.sleep(self._random.choice((0.0, 0.0, 0.01, 0.02)))
        await super().operation(record)

    async def remember(self, endpoints: Sequence[Endpoint]) -> None:
        await asyncio.sleep(self._random.choice((0.0, 0.0, 0.01, 0.02)))
        await super().remember(endpoints)


async def check(s: Stage, leases: list[str]) -> None:
    """A lease that was given counts, or is told to have ended; nothing holds what is paused."""
    seen = s.fleet.endpoint("chat")
    for lease in leases:
        try:
            await s.keeper.renew(lease)
        except NotFound:
            assert not s.fleet.holds("chat", lease)
        else:
            assert not seen.paused, "a heartbeat was taken for a paused endpoint"
    assert not (seen.paused and s.keeper.list())


@virtual
@pytest.mark.parametrize("paused", [True, False])
async def test_of_a_session_that_begins_and_a_pause_at_once_the_last_word_counts(paused: bool) -> None:
    for seed in range(60):
        async with stage(journal=Busy(seed)) as s:
            if paused:
                await s.fleet.pause("chat", actor="ann")
            await one_pair(s)


async def one_pair(s: Stage) -> None:
    opened, _ = await asyncio.gather(s.lease(), s.fleet.pause("chat", actor="ann"), return_exceptions=True)
    assert isinstance(opened, str | EndpointPaused)
    await check(s, [opened] if isinstance(opened, str) else [])
    await asyncio.sleep(10)
    awake = s.phase is Phase.RUNNING
    assert awake is bool(s.keeper.list())
    assert (s.state is State.PAUSED) is not awake


@virtual
async def test_many_sessions_that_begin_among_many_pauses_are_told_the_truth() -> None:
    async with stage(journal=Busy(), provider=MemoryProvider(start_delay=0.05, stop_delay=0.02)) as s:
        dice = random.Random(7)

        async def begin() -> str | None:
            await asyncio.sleep(dice.random())
            try:
                return await s.lease()
            except EndpointPaused:
                return None

        async def pause() -> None:
            await asyncio.sleep(dice.random())
            await s.fleet.pause("chat", actor="ann")

        both = [begin() for _ in range(200)] + [pause() for _ in range(60)]
        dice.shuffle(both)
        given = [lease for lease in await asyncio.gather(*both) if lease is not None]
        assert given
        await check(s, given)
        await s.fleet.pause("chat", actor="ann")
        await check(s, given)
        await asyncio.sleep(1)
        assert s.state is State.PAUSED
        await s.lease()
        assert len(s.keeper.list()) == len(s.shelf.saved) == 1


@virtual
async def test_a_pause_during_the_record_of_a_session_s_beginning_is_withdrawn_by_it() -> None:
    journal = Busy()
    async with stage(journal=journal) as s:
        journal.until["ask resume"] = written = asyncio.Event()
        opening = asyncio.create_task(s.lease())
        await asyncio.sleep(1)
        await s.fleet.pause("chat", actor="ann")
        written.set()
        lease = await opening
        await asyncio.sleep(10)
        assert s.phase is Phase.RUNNING
        await s.keeper.renew(lease)


@virtual
async def test_a_session_whose_endpoint_is_paused_before_it_has_begun_is_told_so() -> None:
    class Remembering(MemoryJournal):
        slow = False

        async def remember(self, endpoints: Sequence[Endpoint]) -> None:
            await asyncio.sleep(1 if self.slow else 0)
            await super().remember(endpoints)

    journal = Remembering()
    async with stage(journal=journal) as s:
        await s.fleet.pause("chat", actor="ann")
        journal.slow = True
        opening = asyncio.create_task(s.lease())  # the pause that it withdraws has to be written down
        await asyncio.sleep(0.5)
        await s.fleet.pause("chat", actor="ann")
        with pytest.raises(EndpointPaused):
            await opening
        assert not s.shelf.saved
        await asyncio.sleep(10)
        assert s.state is State.PAUSED


@virtual
async def test_a_session_that_begins_while_its_endpoint_is_taken_out_holds_nothing() -> None:
    journal = Busy()
    async with stage(journal=journal) as s:
        await s.lease()
        await asyncio.sleep(6)
        in_flight = await s.fleet.claim("chat", None)
        journal.until["ask resume"] = written = asyncio.Event()
        opening = asyncio.create_task(s.lease())
        await asyncio.sleep(1)
        s.fleet.remove("chat")
        written.set()
        with pytest.raises(EndpointNotFound):
            await opening
        in_flight.release()
        assert await s.fleet.remove_and_wait("chat", timeout=10)


@virtual
async def test_a_session_is_told_that_its_endpoint_was_paused_elsewhere() -> None:
    async with stage() as s:
        lease = await s.lease()
        await asyncio.sleep(6)
        s.provider.set_state("chat", State.PAUSED)
        await asyncio.sleep(1)
        with pytest.raises(NotFound, match="ended"):
            await s.keeper.renew(lease)
        await asyncio.sleep(100)
        assert s.state is State.PAUSED


# What the provider does by itself.


@virtual
@pytest.mark.parametrize("changes", [True, False])
async def test_a_held_endpoint_that_its_provider_scaled_to_zero_is_woken_again_once(changes: bool) -> None:
    provider = MemoryProvider(start_delay=5.0, reports_changes=changes, look_every=20.0)
    async with stage(provider=provider) as s:
        lease = await s.lease(ttl=600.0)
        await asyncio.sleep(30)
        assert s.phase is Phase.RUNNING
        for times in range(1, 4):
            provider.set_state("chat", State.SCALED_TO_ZERO)
            await asyncio.sleep(60)
            assert s.phase is Phase.RUNNING
            assert provider.counts("chat") == (1 + times, 0)
        await s.keeper.renew(lease)
        assert provider.calls.count(("wake", "chat")) == 4


@virtual
async def test_a_held_endpoint_that_can_not_be_woken_is_not_tried_in_a_loop() -> None:
    provider = MemoryProvider(start_delay=5.0, faults={"chat": {"wake": "lose"}}, reports_changes=False, look_every=1.0)
    async with stage(provider=provider) as s:
        await s.lease(ttl=3600.0)
        await asyncio.sleep(3000)
        assert 2 < provider.calls.count(("wake", "chat")) < 60
        assert s.fleet.endpoint("chat").message
        assert spec().policy.idle_timeout == 30.0
