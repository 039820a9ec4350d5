"""Changes whose end is late, lost or overtaken: what is told, what is in force and what the provider has agree.

In simulated time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lamplighter.control.clock import Clock
from lamplighter.control.controller import Controller
from lamplighter.control.journal import Memory, MemoryJournal
from lamplighter.control.revision import Revision
from lamplighter.control.room import RoomKeeper
from lamplighter.domain.endpoint import EngineSpec, Phase, Spec, State, Status
from lamplighter.errors import (
    Conflict,
    EndpointExists,
    InvalidInput,
    LamplighterError,
    ProviderUnreachable,
    RateLimited,
    ShuttingDown,
)
from lamplighter.providers.memory import MemoryProvider
from tests.unit.test_fleet import Stage, spec
from tests.virtual_time import virtual


def engine(word: str) -> Spec:
    return dataclasses.replace(spec(), engine=EngineSpec(engine="none", args=(word,)))


OLD, NEW, NEWER = spec(), engine("--new"), engine("--newer")
RENAMED = dataclasses.replace(spec(), aliases=("other",))


class Slow(MemoryProvider):
    """One that takes its time; `ends` are what becomes of each update, in turn: an error, or none, when it is done.

    `has` is the spec that it works with, whatever it answered.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"start_delay": 5.0, "stop_delay": 1.0, "updates_in_place": True} | options))
        self.look_takes = self.update_takes = 0.0
        self.ends: list[BaseException | None] = []
        self.told: list[Spec] = []
        self.has = OLD

    async def observe(self, name: str) -> Status:
        await asyncio.sleep(self.look_takes)
        return await super().observe(name)

    async def update(self, spec: Spec) -> Status:
        self.told.append(spec)
        await asyncio.sleep(self.update_takes)
        error = self.ends.pop(0) if self.ends else None
        if error is not None and not isinstance(error, ProviderUnreachable):
            raise error
        status = await super().update(spec)
        self.has = spec
        if error is not None:
            raise error
        return status


class Doubtful(Stage):
    provider: Slow

    def __init__(self, provider: Slow) -> None:
        super().__init__(provider, MemoryJournal())

    @property
    def spec(self) -> Spec:
        return self.fleet.endpoint("chat").spec

    async def settled(self) -> Spec:
        """The spec in force some time later; it is what the provider has."""
        self.provider.look_takes = self.provider.update_takes = 0.0
        await asyncio.sleep(150)
        assert self.provider.has == self.spec
        assert not self.fleet.troubles
        return self.spec


@contextlib.asynccontextmanager
async def stage(*, awake: bool = True, **options: Any) -> AsyncIterator[Doubtful]:
    played = Doubtful(Slow(**options))
    await played.fleet.open([spec(idle_timeout=3600.0) if awake else OLD])
    played.provider.has = played.spec
    await asyncio.sleep(0.01)
    if awake:
        await played.serve()
        await asyncio.sleep(1)
    try:
        yield played
    finally:
        await played.fleet.close(drain=0.0)


def lost() -> ProviderUnreachable:
    return ProviderUnreachable("the answer to update was lost")


# Late answers.


@virtual
async def test_a_change_whose_answer_comes_later_than_it_was_asked_for_is_taken_and_told_as_taken() -> None:
    async with stage() as s:
        s.provider.look_takes, s.provider.update_takes = 12.0, 25.0
        s.provider.set_state("chat", State.RUNNING)  # a look is under way when the change is asked for
        await asyncio.sleep(0.1)
        assert (await s.fleet.update(NEW)).spec is NEW
        assert await s.settled() is NEW


@virtual
async def test_a_change_that_the_provider_could_not_be_told_of_in_time_is_never_taken() -> None:
    async with stage() as s:
        s.provider.look_takes = 29.0
        s.provider.set_state("chat", State.RUNNING)
        await asyncio.sleep(0.1)
        s.provider.set_state("chat", State.RUNNING)  # and again: the look after that makes it too late
        before = s.spec
        began = s.clock.now()
        with pytest.raises(ProviderUnreachable, match="could not be told"):
            await s.fleet.update(NEW)
        assert s.clock.now() - began < 31
        assert s.provider.told == []
        assert await s.settled() is before


@virtual
@pytest.mark.parametrize("awake", [True, False])
@pytest.mark.parametrize("change", [NEW, RENAMED])
@pytest.mark.parametrize("how", ["answer lost", "no answer"])
async def test_a_change_that_was_refused_though_it_was_carried_out_is_undone_at_the_provider(
    how: str, change: Spec, awake: bool
) -> None:
    class Deaf(Slow):
        async def update(self, spec: Spec) -> Status:
            status = await super().update(spec)
            if how == "no answer" and len(self.told) == 1:
                await asyncio.Event().wait()
            return status

    played = Doubtful(Deaf())
    await played.fleet.open([OLD])
    await asyncio.sleep(0.01)
    if awake:
        await played.serve()
    played.provider.ends = [lost()] if how == "answer lost" else []
    with pytest.raises(ProviderUnreachable):
        await played.fleet.update(change)
    assert played.provider.has == change
    assert played.spec is OLD
    assert played.fleet.resolve("other") is None
    assert await played.settled() is OLD
    assert played.provider.told == [change, OLD]
    assert played.fleet.endpoint("chat").message is None
    await played.fleet.close(drain=0.0)


@virtual
async def test_the_old_specification_is_told_until_the_provider_can_be_asked_and_requests_are_served_meanwhile() -> (
    None
):
    async with stage() as s:
        s.provider.ends = [lost(), *[ProviderUnreachable("no route") for _ in range(5)]]
        before = s.spec
        with pytest.raises(ProviderUnreachable):
            await s.fleet.update(NEW)
        assert "not known" in (s.fleet.endpoint("chat").message or "")
        for _ in range(20):
            await asyncio.sleep(2)
            assert await s.serve() == 0.0
        assert await s.settled() is before
        assert len(s.provider.told) == 7


@virtual
async def test_an_undoing_that_needs_sleep_waits_until_it_is_quiet() -> None:
    async with stage(awake=False, updates_in_place=False) as s:
        s.provider.ends = [lost()]
        with pytest.raises(ProviderUnreachable):
            await s.fleet.update(NEW)
        s.provider.ends = [ProviderUnreachable("no route")] * 2
        await s.serve(seconds=30)  # woken before the provider could be told
        await asyncio.sleep(3)
        assert s.provider.has is OLD
        assert await s.settled() is OLD


@virtual
async def test_an_undoing_that_its_provider_refuses_is_given_up_and_said_once() -> None:
    async with stage() as s:
        s.provider.ends = [lost(), InvalidInput("nothing is as it was")]
        before = s.spec
        with pytest.raises(ProviderUnreachable):
            await s.fleet.update(NEW)
        await asyncio.sleep(300)
        assert s.provider.told == [NEW, before]
        assert s.spec is before


# Several at once.


@virtual
async def test_a_change_during_the_doubt_about_another_one_takes_its_place() -> None:
    async with stage() as s:
        s.provider.ends = [lost()]
        with pytest.raises(ProviderUnreachable):
            await s.fleet.update(NEW)
        assert (await s.fleet.update(NEWER)).spec is NEWER
        assert await s.settled() is NEWER
        assert OLD not in s.provider.told


@virtual
@pytest.mark.parametrize("error", [InvalidInput("can't be"), RateLimited("later"), lost()])
async def test_a_change_that_is_refused_during_the_doubt_about_another_one_leaves_neither(
    error: LamplighterError,
) -> None:
    async with stage() as s:
        before = s.spec
        s.provider.ends = [lost(), error]
        for change in (NEW, NEWER):
            with pytest.raises(LamplighterError):
                await s.fleet.update(change)
        assert await s.settled() is before


@virtual
async def test_a_change_of_names_during_the_doubt_about_the_engine_counts_when_the_engine_is_the_old_one_again() -> (
    None
):
    async with stage(awake=False, updates_in_place=False) as s:
        s.provider.ends = [lost()]
        with pytest.raises(ProviderUnreachable):
            await s.fleet.update(NEW)
        await s.fleet.update(RENAMED)
        assert await s.settled() is RENAMED
        assert s.provider.told == [NEW, RENAMED]


@virtual
@pytest.mark.parametrize("begun", [True, False])
async def test_a_change_that_another_one_overtakes_is_told_so_and_the_last_word_counts(begun: bool) -> None:
    async with stage() as s:
        s.provider.look_takes, s.provider.update_takes = 2.0, 10.0
        s.provider.set_state("chat", State.RUNNING)
        await asyncio.sleep(0.1)
        first = asyncio.create_task(s.fleet.update(NEW))
        await asyncio.sleep(5 if begun else 1)
        assert s.provider.told == ([NEW] if begun else [])
        second = asyncio.create_task(s.fleet.update(NEWER))
        with pytest.raises(Conflict, match="Another change"):
            await first
        assert (await second).spec is NEWER
        assert await s.settled() is NEWER


@virtual
@pytest.mark.parametrize("end", [None, InvalidInput("can't be"), lost()])
async def test_when_the_one_that_overtook_is_refused_what_stood_before_both_is_in_force(
    end: BaseException | None,
) -> None:
    async with stage() as s:
        before = s.spec
        s.provider.update_takes = 10.0
        s.provider.ends = [end, InvalidInput("nor that")]
        first = asyncio.create_task(s.fleet.update(NEW))
        await asyncio.sleep(5)
        second = asyncio.create_task(s.fleet.update(NEWER))
        for change in (first, second):
            with pytest.raises((Conflict, InvalidInput)):
                await change
        assert await s.settled() is before


@virtual
async def test_a_reload_that_comes_while_a_change_is_told_has_the_last_word() -> None:
    async with stage() as s:
        s.provider.update_takes = 10.0
        changing = asyncio.create_task(s.fleet.update(NEW))
        await asyncio.sleep(5)
        s.fleet.change(RENAMED)
        with pytest.raises(Conflict, match="Another change"):
            await changing
        assert await s.settled() is RENAMED


@virtual
async def test_what_a_reload_asked_for_is_told_after_a_change_that_was_refused() -> None:
    async with stage() as s:
        s.provider.ends = [ProviderUnreachable("no route"), InvalidInput("can't be")]
        s.fleet.change(NEW)
        await asyncio.sleep(0.5)
        with pytest.raises(InvalidInput):
            await s.fleet.update(NEWER)
        assert await s.settled() is NEW


@virtual
async def test_a_name_that_a_change_under_way_will_take_can_not_be_had_by_another_endpoint() -> None:
    async with stage() as s:
        await s.fleet.add(spec("second"))
        s.provider.update_takes = 10.0
        changing = asyncio.create_task(s.fleet.update(RENAMED))
        await asyncio.sleep(5)
        for taken in (
            s.fleet.add(spec("third", aliases=("other",))),
            s.fleet.update(spec("second", aliases=("other",))),
        ):
            with pytest.raises(EndpointExists, match="'other'"):
                await taken
        await changing
        assert s.fleet.resolve("other") == "chat"


# Callers that leave, controllers that break.


@virtual
@pytest.mark.parametrize("end", [None, lost(), InvalidInput("can't be")])
async def test_a_change_whose_caller_leaves_goes_on_to_its_end(end: BaseException | None) -> None:
    async with stage() as s:
        before = s.spec
        s.provider.update_takes, s.provider.ends = 10.0, [end]
        changed = dataclasses.replace(NEW, aliases=("other",))
        changing = asyncio.create_task(s.fleet.update(changed))
        await asyncio.sleep(5)
        changing.cancel()
        await asyncio.wait([changing])
        assert changing.cancelled()
        wanted = changed if end is None else before
        assert await s.settled() is wanted
        assert s.fleet.resolve("other") == ("chat" if end is None else None)


@virtual
async def test_a_change_that_is_withdrawn_before_its_provider_hears_of_it_never_was() -> None:
    provider = Slow()
    await provider.create(OLD)
    controller = Controller(
        OLD, provider, RoomKeeper({}), MemoryJournal(), clock=Clock(), memory=Memory(), jitter=lambda: 0.5
    )
    changing = asyncio.create_task(controller.change(NEW))
    await asyncio.sleep(1)
    changing.cancel()
    await asyncio.wait([changing])
    running = asyncio.create_task(controller.run())
    await asyncio.sleep(10)
    assert provider.told == []
    assert controller.spec is controller.target_spec is OLD
    running.cancel()
    await asyncio.wait([running])


@virtual
async def test_a_provider_that_breaks_while_it_is_told_keeps_nobody_waiting() -> None:
    async with stage() as s:
        before = s.spec
        s.provider.ends = [KeyError("a fault of its own")]
        began = s.clock.now()
        with pytest.raises(ProviderUnreachable, match="a fault of its own"):
            await s.fleet.update(NEW)
        assert s.clock.now() - began < 1
        await asyncio.sleep(200)
        assert s.spec == s.provider.has == before
        assert s.provider.told == [NEW, before]


@virtual
async def test_a_reload_that_breaks_its_provider_is_told_again_with_pauses() -> None:
    async with stage() as s:
        s.provider.ends = [KeyError("a fault of its own") for _ in range(3)]
        s.fleet.change(NEW)
        assert await s.settled() is NEW
        assert len(s.provider.told) == 4


@virtual
async def test_who_waits_for_a_change_while_the_server_ends_is_told() -> None:
    async with stage() as s:
        s.provider.update_takes = 10.0
        changing = asyncio.create_task(s.fleet.update(NEW))
        await asyncio.sleep(5)
        await s.fleet.close(drain=0.0)
        with pytest.raises((ShuttingDown, asyncio.CancelledError)):
            await asyncio.wait_for(changing, 1)


@virtual
async def test_a_change_waits_out_a_start_that_has_just_begun() -> None:
    async with stage(awake=False) as s:
        await s.fleet.wake("chat", actor="ann")
        await s.fleet.update(NEW)
        assert await s.serve() <= 6
        assert s.phase() is Phase.RUNNING
        assert await s.settled() is NEW


# The memory of it.


def test_a_specification_that_keeps_the_process_is_in_force_at_once_and_back_when_it_is_refused() -> None:
    revision = Revision(OLD)
    revision.ask(RENAMED)
    assert revision.spec is revision.target is RENAMED
    assert revision.untold
    revision.refuse(RENAMED, InvalidInput("can't be"))
    assert revision.spec is revision.target is OLD
    assert (revision.untold, revision.replacing) == (False, False)
