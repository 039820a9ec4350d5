"""What every provider does, whatever it is made of."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from lamplighter.domain.endpoint import ASLEEP, STARTING, EngineSpec, Spec, State, Status
from lamplighter.errors import Conflict, EndpointNotFound
from lamplighter.providers.base import Provider
from lamplighter.providers.local import LocalProvider
from lamplighter.providers.memory import MemoryProvider
from tests.local_engines import ScriptEngine

DEADLINE = 15.0

SPEC = Spec(name="e", provider="any", engine=EngineSpec(engine="script", start_timeout=20.0, stop_grace=5.0))


class House:
    """One provider of a kind; `successor` is the one that comes after it in the same place."""

    def __init__(self, make: Callable[[], Provider]) -> None:
        self._make = make
        self._news = asyncio.Event()
        self.changed: list[str] = []
        self.provider = make()

    async def open(self) -> None:
        await self.provider.open(self._heard)

    async def successor(self) -> None:
        self.provider = self._make()
        await self.open()

    def _heard(self, name: str) -> None:
        self.changed.append(name)
        self._news.set()

    async def until(self, fits: Callable[[Status], bool], name: str = "e") -> Status:
        async with asyncio.timeout(DEADLINE):
            while True:
                self._news.clear()
                status = await self.provider.observe(name)
                if fits(status):
                    return status
                await self._news.wait()

    async def until_asleep(self) -> Status:
        return await self.until(lambda status: status.state in ASLEEP)

    async def awake(self, spec: Spec = SPEC) -> Status:
        await self.provider.create(spec)
        await self.provider.wake(spec.name)
        return await self.until(
            lambda status: status.state is State.RUNNING and len(status.replicas) == spec.replicas, spec.name
        )


def local_maker(folder: Path) -> Callable[[], Provider]:
    engine = ScriptEngine(folder)
    return lambda: LocalProvider(
        resources={"gpu": 1.0}, state_dir=folder / "state", log_dir=folder / "logs", engines={"script": engine}
    )


def memory_maker(_folder: Path) -> Callable[[], Provider]:
    only = MemoryProvider(start_delay=0.02, stop_delay=0.02, resources={"gpu": 1.0})
    return lambda: only


@pytest.fixture(params=[local_maker, memory_maker], ids=["local", "memory"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    it = House(request.param(tmp_path))
    await it.open()
    yield it
    await it.provider.close()


async def test_it_says_what_it_has(house: House):
    capabilities = house.provider.capabilities
    assert capabilities.resources == {"gpu": 1.0}
    assert capabilities.reports_changes
    assert capabilities.look_every > 0


async def test_an_endpoint_is_made_asleep(house: House):
    created = await house.provider.create(SPEC)
    assert created == await house.provider.observe("e")
    assert created.state in ASLEEP
    assert created.replicas == ()


async def test_an_unknown_endpoint_is_not_found_by_any_verb(house: House):
    provider = house.provider
    for verb in (provider.observe, provider.wake, provider.sleep, provider.delete):
        with pytest.raises(EndpointNotFound):
            await verb("nobody")
    with pytest.raises(EndpointNotFound):
        await provider.update(SPEC)
    with pytest.raises(EndpointNotFound):
        await anext(provider.logs("nobody"))


async def test_a_wake_begins_a_start_that_ends_with_all_replicas(house: House):
    spec = dataclasses.replace(SPEC, replicas=2)
    await house.provider.create(spec)
    await house.provider.wake("e")
    assert (await house.provider.observe("e")).state in STARTING
    status = await house.awake(spec)
    assert len({replica.id for replica in status.replicas}) == 2
    assert all(replica.url.startswith("http://") and replica.url[-1] != "/" for replica in status.replicas)
    assert set(house.changed) == {"e"}


async def test_a_second_wake_changes_nothing(house: House):
    await house.provider.create(SPEC)
    await house.provider.wake("e")
    await house.provider.wake("e")
    first = await house.awake()
    await house.provider.wake("e")
    assert await house.provider.observe("e") == first


async def test_a_sleep_takes_the_replicas_away_at_once_and_ends_asleep(house: House):
    await house.awake()
    await house.provider.sleep("e")
    assert (await house.provider.observe("e")).replicas == ()
    assert (await house.until_asleep()).replicas == ()


async def test_a_second_sleep_changes_nothing(house: House):
    await house.awake()
    await house.provider.sleep("e")
    await house.provider.sleep("e")
    asleep = await house.until_asleep()
    await house.provider.sleep("e")
    assert await house.provider.observe("e") == asleep


async def test_a_sleep_of_what_never_woke_changes_nothing(house: House):
    created = await house.provider.create(SPEC)
    await house.provider.sleep("e")
    assert await house.provider.observe("e") == created


async def test_a_sleep_during_a_start_ends_asleep(house: House):
    await house.provider.create(SPEC)
    await house.provider.wake("e")
    await house.provider.sleep("e")
    await house.until_asleep()


async def test_it_wakes_again_after_a_sleep(house: House):
    await house.awake()
    await house.provider.sleep("e")
    await house.until_asleep()
    await house.awake()


async def test_endpoints_do_not_touch_each_other(house: House):
    other = dataclasses.replace(SPEC, name="other")
    await house.awake()
    running = await house.awake(other)
    await house.provider.sleep("e")
    await house.until_asleep()
    assert await house.provider.observe("other") == running


async def test_a_sleeping_endpoint_takes_a_new_spec(house: House):
    await house.provider.create(SPEC)
    wider = dataclasses.replace(SPEC, replicas=2)
    assert (await house.provider.update(wider)).state in ASLEEP
    await house.provider.wake("e")
    await house.until(lambda status: len(status.replicas) == 2 and status.state is State.RUNNING)


async def test_an_endpoint_that_is_awake_takes_no_new_spec(house: House):
    await house.awake()
    with pytest.raises(Conflict):
        await house.provider.update(dataclasses.replace(SPEC, replicas=2))


async def test_creating_it_again_tells_how_it_is(house: House):
    running = await house.awake()
    assert await house.provider.create(SPEC) == running


async def test_a_deleted_endpoint_is_forgotten_whatever_it_did(house: House):
    await house.awake()
    await house.provider.delete("e")
    with pytest.raises(EndpointNotFound):
        await house.provider.observe("e")
    assert (await house.provider.create(SPEC)).state in ASLEEP


async def test_what_is_left_running_is_found_by_the_next(house: House):
    running = await house.awake()
    await house.provider.close(leave_running=True)
    await house.successor()
    assert await house.provider.create(SPEC) == running


async def test_what_is_closed_is_asleep_for_the_next(house: House):
    await house.awake()
    await house.provider.close()
    await house.successor()
    assert (await house.provider.create(SPEC)).state in ASLEEP


async def test_logs_are_at_most_so_many_lines(house: House):
    await house.awake()
    lines = [line async for line in house.provider.logs("e", tail=1)]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert [line async for line in house.provider.logs("e", tail=0)] == []


async def test_following_logs_can_be_broken_off(house: House):
    await house.awake()
    logs = cast("AsyncGenerator[str, None]", house.provider.logs("e", follow=True))
    async with aclosing(logs), asyncio.timeout(DEADLINE):
        assert await anext(logs)
        waiting = asyncio.ensure_future(_exhaust(logs))
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def _exhaust(lines: AsyncIterator[str]) -> None:
    async for _ in lines:
        pass
