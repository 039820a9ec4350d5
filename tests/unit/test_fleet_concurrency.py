"""Endpoints whose replicas answer only so many requests at once."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from lamplighter.control.demand import Caller
from lamplighter.domain.endpoint import Phase
from lamplighter.errors import EndpointBusy, QueueFull, WakeTimeout
from tests.unit.test_fleet import spec, stage
from tests.virtual_time import virtual


@virtual
async def test_after_a_cold_start_requests_are_let_through_at_the_rate_that_the_engine_takes() -> None:
    async with stage(spec(concurrency=2)) as s:
        waits = sorted(await asyncio.gather(*(s.serve(seconds=10) for _ in range(7))))
        assert waits == pytest.approx([5, 5, 15, 15, 25, 25, 35], abs=0.2)
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_a_request_that_finds_every_slot_taken_is_told_so_and_when_to_come_again() -> None:
    async with stage(spec(concurrency=2, replicas=2)) as s:
        running = [asyncio.create_task(s.serve(seconds=100)) for _ in range(4)]
        await asyncio.sleep(20)
        assert s.fleet.is_awake("chat")
        with pytest.raises(EndpointBusy, match="all its 4 slots are taken") as caught:
            await s.serve(timeout=8)
        assert caught.value.retry_after == 1.0, "nobody waits any more"
        assert caught.value.status == 503
        await asyncio.gather(*running)


@virtual
async def test_the_time_to_come_again_follows_the_rate_at_which_requests_end() -> None:
    async with stage(spec(concurrency=1)) as s:
        tasks = [asyncio.create_task(s.serve(seconds=4)) for _ in range(20)]
        await asyncio.sleep(5 + 4 * 10 + 1)
        assert s.fleet.endpoint("chat").waiting == 9
        assert s.fleet.expected_wait("chat") == pytest.approx(10 * 4, rel=0.2)
        with pytest.raises(EndpointBusy) as caught:
            await s.serve(timeout=0.1)
        assert caught.value.retry_after == pytest.approx(10 * 4, rel=0.2)
        await asyncio.gather(*tasks)
        assert s.fleet.expected_wait("chat") == 0.0


@virtual
async def test_a_request_that_waits_for_a_start_is_told_of_that_and_not_of_slots() -> None:
    async with stage(spec(concurrency=1), start_delay=50.0) as s:
        with pytest.raises(WakeTimeout):
            await s.serve(timeout=8)


@virtual
async def test_a_full_queue_before_a_busy_endpoint_tells_when_a_slot_is_likely() -> None:
    async with stage(spec(concurrency=1, max_waiting=2)) as s:
        tasks = [asyncio.create_task(s.serve(seconds=4)) for _ in range(2)]
        await asyncio.sleep(6)
        tasks.append(asyncio.create_task(s.serve(seconds=4)))
        await asyncio.sleep(4)
        tasks.append(asyncio.create_task(s.serve(seconds=4)))
        await asyncio.sleep(0.1)
        with pytest.raises(QueueFull) as caught:
            await s.serve()
        assert caught.value.retry_after == pytest.approx(3 * 4, rel=0.5)
        await asyncio.gather(*tasks)


@virtual
async def test_who_may_not_wake_waits_for_a_slot_like_everybody() -> None:
    async with stage(spec(concurrency=1)) as s:
        first = asyncio.create_task(s.serve(seconds=10))
        await asyncio.sleep(6)
        claim = await s.fleet.claim("chat", None, Caller(key="guest", may_wake=False))
        assert claim.waited == pytest.approx(9, abs=0.1)
        claim.release()
        await first


@virtual
async def test_a_busy_endpoint_does_not_sleep_and_one_whose_queue_is_empty_does() -> None:
    async with stage(spec(concurrency=1, idle_timeout=3.0)) as s:
        await asyncio.gather(*(s.serve(seconds=10) for _ in range(4)))
        assert s.phase() is Phase.RUNNING
        await asyncio.sleep(5)
        assert s.phase() is Phase.SLEEPING
        assert s.provider.counts("chat") == (1, 1)


@virtual
async def test_a_changed_bound_lets_through_who_waits() -> None:
    async with stage(spec(concurrency=1)) as s:
        tasks = [asyncio.create_task(s.serve(seconds=100)) for _ in range(3)]
        await asyncio.sleep(6)
        assert s.fleet.endpoint("chat").in_flight == 1
        s.fleet.change(spec(concurrency=None))
        await asyncio.sleep(0.1)
        assert s.fleet.endpoint("chat").in_flight == 3
        await asyncio.gather(*tasks)


@virtual
async def test_a_bound_that_comes_with_a_new_process_counts_from_then() -> None:
    old = spec(concurrency=4)
    async with stage(old) as s:
        running = [asyncio.create_task(s.serve(seconds=20)) for _ in range(4)]
        await asyncio.sleep(6)
        engine = dataclasses.replace(old.engine, args=("--parallel", "1"))
        s.fleet.change(dataclasses.replace(spec(concurrency=1), engine=engine))
        await asyncio.sleep(1)
        later = [asyncio.create_task(s.serve(seconds=20)) for _ in range(3)]
        await asyncio.gather(*running)
        await asyncio.sleep(12)
        assert s.fleet.endpoint("chat").in_flight == 1
        await asyncio.gather(*later)
        assert s.provider.counts("chat") == (2, 1)


@virtual
async def test_those_who_wait_for_a_slot_when_the_server_ends_are_served_within_the_drain() -> None:
    async with stage(spec(concurrency=1)) as s:
        tasks = [asyncio.create_task(s.serve(seconds=2)) for _ in range(3)]
        guest = asyncio.create_task(s.fleet.claim("chat", None, Caller(priority=-1, may_wake=False)))
        await asyncio.sleep(6)
        await s.fleet.close(drain=30.0)
        await asyncio.gather(*tasks)
        (await guest).release()
