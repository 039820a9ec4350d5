"""What every provider does, whatever it is made of."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from lamplighter.domain.endpoint import ASLEEP, STARTING, Creation, EngineSpec, Remote, Spec, State, Status
from lamplighter.errors import Conflict, EndpointNotFound
from lamplighter.providers.base import Provider
from lamplighter.providers.local import LocalProvider
from lamplighter.providers.memory import MemoryProvider
from tests.hf_cloud import MADE, cloud
from tests.local_engines import ScriptEngine

DEADLINE = 15.0

POLL = 0.05

SPEC = Spec(name="e", provider="any", engine=EngineSpec(engine="script", start_timeout=20.0, stop_grace=5.0))
WIDER = dataclasses.replace(SPEC, replicas=2)


class House:
    """One provider of a kind; `successor` is the one that comes after it in the same place.

    `spec` is one that works there, `another` one that it has to be asleep for.
    """

    def __init__(self, make: Callable[[], Provider], spec: Spec = SPEC, another: Spec = WIDER) -> None:
        self._make = make
        self.spec = spec
        self.another = another
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
                await self._wait()

    async def _wait(self) -> None:
        """A provider that does not report changes has to be asked again and again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if self.provider.capabilities.reports_changes else POLL):
                await self._news.wait()

    async def until_asleep(self) -> Status:
        return await self.until(lambda status: status.state in ASLEEP)

    async def awake(self, spec: Spec | None = None) -> Status:
        spec = spec or self.spec
        await self.provider.create(spec)
        await self.provider.wake(spec.name)
        return await self.until(
            lambda status: status.state is State.RUNNING and len(status.replicas) == spec.replicas, spec.name
        )


@contextlib.asynccontextmanager
async def local(folder: Path) -> AsyncIterator[House]:
    engine = ScriptEngine(folder)
    yield House(
        lambda: LocalProvider(
            resources={"gpu": 1.0}, state_dir=folder / "state", log_dir=folder / "logs", engines={"script": engine}
        )
    )


@contextlib.asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[House]:
    only = MemoryProvider(start_delay=0.02, stop_delay=0.02, resources={"gpu": 1.0})
    yield House(lambda: only)


@contextlib.asynccontextmanager
async def huggingface(folder: Path) -> AsyncIterator[House]:
    """Over HTTP, at a Lamplighter that serves the management API for simulated endpoints."""
    elsewhere = dataclasses.replace(MADE, remote=Remote(name="another", create=Creation.IF_MISSING))
    async with cloud(folder, start_delay=0.2) as it:
        yield House(lambda: it.provider(resources={"gpu": 1.0}), MADE, elsewhere)


@pytest.fixture(params=[local, memory, huggingface])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    async with request.param(tmp_path) as it:
        await it.open()
        yield it
        await it.provider.close()


async def test_it_says_what_it_has(house: House):
    capabilities = house.provider.capabilities
    assert capabilities.resources == {"gpu": 1.0}
    assert capabilities.look_every > 0
    assert capabilities.reports_changes or capabilities.look_every <= 60


async def test_an_endpoint_is_made_asleep(house: House):
    created = await house.provider.create(house.spec)
    assert created == await house.provider.observe("e")
    assert created.state in ASLEEP
    assert created.replicas == ()


async def test_an_unknown_endpoint_is_not_found_by_any_verb(house: House):
    provider = house.provider
    for verb in (provider.observe, provider.wake, provider.sleep, provider.delete):
        with pytest.raises(EndpointNotFound):
            await verb("nobody")
    with pytest.raises(EndpointNotFound):
        await provider.update(house.spec)
    with pytest.raises(EndpointNotFound):
        await anext(provider.logs("nobody"))


async def test_a_wake_begins_a_start_that_ends_with_all_replicas(house: House):
    spec = dataclasses.replace(house.spec, replicas=2)
    await house.provider.create(spec)
    await house.provider.wake("e")
    assert (await house.provider.observe("e")).state in STARTING
    status = await house.awake(spec)
    assert len({replica.id for replica in status.replicas}) == 2
    assert all(replica.url.startswith("http://") and replica.url[-1] != "/" for replica in status.replicas)
    assert set(house.changed) == {"e"} or not house.provider.capabilities.reports_changes


async def test_a_second_wake_changes_nothing(house: House):
    await house.provider.create(house.spec)
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
    created = await house.provider.create(house.spec)
    await house.provider.sleep("e")
    assert await house.provider.observe("e") == created


async def test_a_sleep_during_a_start_ends_asleep(house: House):
    await house.provider.create(house.spec)
    await house.provider.wake("e")
    await house.provider.sleep("e")
    await house.until_asleep()


WAYS = pytest.mark.parametrize("into", [State.PAUSED, State.SCALED_TO_ZERO])


@WAYS
async def test_a_sleep_ends_in_the_state_that_was_asked_for(house: House, into: State):
    await house.awake()
    await house.provider.sleep("e", into)
    assert (await house.until_asleep()).state is into
    await house.provider.sleep("e", into)
    assert (await house.provider.observe("e")).state is into


@WAYS
async def test_a_start_that_is_broken_off_ends_in_the_state_that_was_asked_for(house: House, into: State):
    await house.provider.create(house.spec)
    await house.provider.wake("e")
    await house.provider.sleep("e", into)
    assert (await house.until_asleep()).state is into


async def test_one_that_is_asleep_passes_from_one_way_to_the_other_and_starts_nothing(house: House):
    await house.provider.create(house.spec)
    for into in (State.PAUSED, State.SCALED_TO_ZERO, State.PAUSED):
        await house.provider.sleep("e", into)
        asleep = await house.until(lambda status, into=into: status.state is into)  # type: ignore[misc]
        assert asleep.replicas == ()


async def test_a_wake_brings_a_paused_endpoint_up(house: House):
    await house.awake()
    await house.provider.sleep("e", State.PAUSED)
    await house.until_asleep()
    assert (await house.awake()).replicas


async def test_its_hardware_can_be_chosen_by_its_id(house: House):
    listed = await house.provider.hardware()
    assert bool(listed) is house.provider.capabilities.deploys
    assert len({one.id for one in listed}) == len(listed)
    for one in listed:
        assert one.vendor
        assert one.region
        assert one.instance_type
        assert one.instance_size
        assert one.num_accelerators >= 1
        assert one.price_per_hour is None or one.price_per_hour >= 0
        assert one.used_accelerators >= 0


async def test_it_wakes_again_after_a_sleep(house: House):
    await house.awake()
    await house.provider.sleep("e")
    await house.until_asleep()
    await house.awake()


async def test_endpoints_do_not_touch_each_other(house: House):
    other = dataclasses.replace(house.spec, name="other")
    await house.awake()
    running = await house.awake(other)
    await house.provider.sleep("e")
    await house.until_asleep()
    assert await house.provider.observe("other") == running


async def test_a_sleeping_endpoint_takes_a_new_spec(house: House):
    await house.provider.create(house.spec)
    wider = dataclasses.replace(house.spec, replicas=2)
    assert (await house.provider.update(wider)).state in ASLEEP
    await house.provider.wake("e")
    await house.until(lambda status: len(status.replicas) == 2 and status.state is State.RUNNING)


async def test_an_endpoint_that_is_awake_takes_no_new_spec(house: House):
    await house.awake()
    with pytest.raises(Conflict):
        await house.provider.update(house.another)


async def test_creating_it_again_tells_how_it_is(house: House):
    running = await house.awake()
    assert await house.provider.create(house.spec) == running


async def test_a_deleted_endpoint_is_forgotten_whatever_it_did(house: House):
    running = await house.awake()
    await house.provider.delete("e")
    with pytest.raises(EndpointNotFound):
        await house.provider.observe("e")
    again = await house.provider.create(house.spec)
    if house.provider.capabilities.ends_on_close:
        assert again.state in ASLEEP
    else:  # it stands at its provider, and was not ours to delete
        assert again == running


async def test_what_is_left_running_is_found_by_the_next(house: House):
    running = await house.awake()
    await house.provider.close(leave_running=True)
    await house.successor()
    assert await house.provider.create(house.spec) == running


async def test_what_is_closed_is_asleep_for_the_next_unless_it_goes_on_without_us(house: House):
    running = await house.awake()
    await house.provider.close()
    await house.successor()
    found = await house.provider.create(house.spec)
    if house.provider.capabilities.ends_on_close:
        assert found.state in ASLEEP
    else:
        assert found == running


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
