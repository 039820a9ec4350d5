"""Providers that refuse, lose, flap and let endpoints die: every request over the real gateway ends in exactly one way."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import MemoryJournal
from lamplighter.domain.endpoint import EngineSpec, Phase, Policy, Spec, State
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.providers.memory import Fault, MemoryProvider
from tests import gateway_stage
from tests.gateway_stage import Reply, ScriptedEndpoint, Stage, Visit, answer, endpoint, stage, until
from tests.hurried_time import SPEED, hurried

BURST = 40
# Bounds that are not what is tested here hold in real time, too.
SETTINGS = GatewaySettings(
    sweep_every=1.0, head_timeout=30 * SPEED, body_timeout=30 * SPEED, connect_timeout=10 * SPEED
)
TOLD = {200, 502, 503}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_stage, "PATIENCE", gateway_stage.PATIENCE * SPEED)


async def answers(visit: Visit) -> None:
    """Answers with the number that was asked for."""
    while True:
        line, _, _ = await visit.request()
        await visit.say(answer(line.split()[1].encode()))


@dataclass
class World:
    """The gateway before real controllers, an endpoint that a script keeps, and a server that answers for it."""

    provider: MemoryProvider
    fleet: Fleet
    stage: Stage
    server: ScriptedEndpoint

    async def ask(self, number: int = 0, **headers: str) -> Reply:
        return await self.stage.ask(f"/endpoints/chat/{number}", method="GET", **headers)

    async def burst(self, count: int = BURST, *, over: float = 0.0) -> list[Reply]:
        """Send requests, spread over some seconds of the loop's time."""

        async def one(number: int) -> Reply:
            await asyncio.sleep(over * number / count)
            return await self.ask(number)

        return await asyncio.gather(*(one(number) for number in range(count)))

    def hang_up(self) -> None:
        """What a server's process does when it dies."""
        for visit in self.server.visits:
            if not visit.writer.transport.is_closing():
                visit.reset()

    async def served_again(self) -> None:
        """Ask as a client does that was told to come again."""
        async with asyncio.timeout(100 * SPEED):
            while (reply := await self.ask()).status != 200:  # noqa: ASYNC110 - as a client has to
                await asyncio.sleep(float(reply.headers.get("retry-after", 1)))

    async def settled(self, count: int) -> Counter[str]:
        """Check that all requests are accounted for and nothing is held; their outcomes."""
        records = self.stage.usage.all
        await until(lambda: self.stage.idle and len(records) >= count)
        assert len(records) == count
        status = self.fleet.endpoint("chat")
        assert (status.in_flight, status.waiting) == (0, 0)
        return Counter(str(record.outcome) for record in records)


@contextlib.asynccontextmanager
async def world(
    script: gateway_stage.Script = answers, *, awake: bool = False, options: dict[str, Any] | None = None, **policy: Any
) -> AsyncIterator[World]:
    spec = Spec(
        name="chat",
        provider="memory",
        engine=EngineSpec(engine="none"),
        policy=Policy(**({"idle_timeout": None, "wake_timeout": 30 * SPEED} | policy)),
    )
    async with endpoint(script) as server:
        given: dict[str, Any] = {"start_delay": 2.0, "url": server.url} | (options or {})
        provider = MemoryProvider(**given)
        fleet = Fleet({"memory": provider}, MemoryJournal())
        if awake:
            await provider.create(spec)
            provider.set_state("chat", State.RUNNING)
        await fleet.open([spec])
        try:
            await until(lambda: fleet.endpoint("chat").phase is (Phase.RUNNING if awake else Phase.SLEEPING))
            demand: Any = fleet
            async with stage(demand, SETTINGS, keep_alive=60 * SPEED) as here:
                yield World(provider, fleet, here, server)
        finally:
            await fleet.close(drain=0.0)


def bodies(replies: list[Reply]) -> list[bytes]:
    return [reply.body for reply in replies]


NUMBERED = [b"/%d" % number for number in range(BURST)]


@hurried
async def test_a_wake_that_is_refused_for_good_is_told_to_all_who_wait_and_can_be_tried_again() -> None:
    async with world() as w:
        w.provider.script("chat", "wake", Fault.REFUSE_FOR_GOOD)
        replies = await w.burst()
        assert {(reply.status, reply.json["reason"]) for reply in replies} == {(503, "wake_failed")}
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies)
        assert await w.settled(BURST) == {"failed": BURST}
        assert w.provider.counts("chat") == (0, 0)
        await w.served_again()
        assert w.provider.counts("chat") == (1, 0)


@pytest.mark.parametrize(
    "faults",
    [
        (Fault.REFUSE,),
        (Fault.LOSE,),
        (Fault.LOSE_ANSWER,),
        (Fault.BREAK,),
        (Fault.HANG,),
        (Fault.UNREACHABLE,),
        (Fault.RATE_LIMITED,),
        (Fault.LOSE, Fault.REFUSE),
    ],
    ids=lambda faults: "+".join(fault.value for fault in faults),
)
@hurried
async def test_a_wake_that_goes_wrong_for_once_is_made_up_for_and_all_are_served(faults: tuple[Fault, ...]) -> None:
    async with world(wake_attempts=len(faults) + 1) as w:
        w.provider.script("chat", "wake", *faults)
        replies = await w.burst()
        assert bodies(replies) == NUMBERED
        assert await w.settled(BURST) == {"served": BURST}
        starts, _ = w.provider.counts("chat")
        assert starts == (2 if Fault.BREAK in faults else 1)


@hurried
async def test_a_start_that_breaks_every_time_is_told_to_all_and_holds_nothing() -> None:
    async with world() as w:
        w.provider.script("chat", "wake", *[Fault.BREAK] * 10)
        replies = await w.burst()
        assert {(reply.status, reply.json["reason"]) for reply in replies} == {(503, "wake_failed")}
        assert await w.settled(BURST) == {"failed": BURST}


@hurried
async def test_looks_that_go_wrong_while_it_starts_change_nothing_for_those_who_wait() -> None:
    async with world(options={"reports_changes": False, "look_every": 1.0}) as w:
        w.provider.script("chat", "observe", Fault.UNREACHABLE, Fault.ODD_STATE, Fault.HANG, Fault.UNREACHABLE)
        assert bodies(await w.burst()) == NUMBERED
        assert await w.settled(BURST) == {"served": BURST}


@pytest.mark.parametrize("into", [State.FAILED, State.SCALED_TO_ZERO, State.PAUSED])
@hurried
async def test_an_endpoint_that_comes_up_and_dies_at_once_is_woken_again_or_told_and_all_are_accounted_for(
    into: State,
) -> None:
    async with world(wake_attempts=4) as w:

        async def murder() -> None:
            for _ in range(3):
                await until(lambda: w.fleet.endpoint("chat").phase is Phase.RUNNING)
                w.provider.set_state("chat", into)
                w.hang_up()
                await until(lambda: w.fleet.endpoint("chat").phase is not Phase.RUNNING)

        deaths = asyncio.create_task(murder())
        replies = await w.burst(over=20.0)
        # The last of them may have found no demand to come up for.
        async with asyncio.timeout(1000):
            while not deaths.done():
                await w.ask()
        asked = len(w.stage.usage.all)
        assert {reply.status for reply in replies} <= TOLD
        outcomes = await w.settled(asked)
        assert set(outcomes) <= {"served", "failed", "cut"}
        assert (await w.ask()).status == 200
        assert w.provider.counts("chat")[0] >= 3


@hurried
async def test_an_endpoint_that_falls_asleep_amid_a_burst_serves_who_is_in_and_wakes_for_the_others() -> None:
    async with world(awake=True) as w:
        asking = asyncio.create_task(w.burst(over=40.0))
        for _ in range(4):
            await asyncio.sleep(8.0)
            w.provider.set_state("chat", State.SCALED_TO_ZERO)
        replies = await asking
        assert bodies(replies) == NUMBERED, "no request got an error, or another's answer"
        assert await w.settled(BURST) == {"served": BURST}
        assert 1 <= w.provider.counts("chat")[0] <= 4


@hurried
async def test_an_endpoint_that_falls_asleep_and_hangs_up_amid_a_burst_leaves_every_request_with_one_end() -> None:
    """Requests that were under way are lost with it: a GET is sent again, a stream that began is cut."""
    streaming = 0

    async def script(visit: Visit) -> None:
        nonlocal streaming
        while True:
            line, _, _ = await visit.request()
            number = int(line.split()[1].removeprefix("/"))
            if number % 4:
                await visit.say(answer(b"/%d" % number))
                continue
            streaming += 1
            await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            await asyncio.sleep(12.0)
            await visit.say(b"0\r\n\r\n")

    async with world(script, awake=True) as w:
        asking = asyncio.create_task(w.burst(over=40.0))
        for _ in range(3):
            await asyncio.sleep(10.0)
            w.provider.set_state("chat", State.SCALED_TO_ZERO)
            w.hang_up()
        replies = await asking
        assert {reply.status for reply in replies} <= TOLD
        outcomes = await w.settled(BURST)
        assert outcomes["cut"] == len([reply for reply in replies if reply.cut])
        assert outcomes["served"] == len([reply for reply in replies if reply.status == 200 and not reply.cut])
        assert sum(outcomes.values()) == BURST
        assert outcomes["cut"] >= 1
        assert outcomes["served"] > BURST / 2


@pytest.mark.parametrize("seed", range(2))
@hurried
async def test_a_state_that_flaps_loses_no_request_and_calms_down(seed: int) -> None:
    chance = random.Random(seed)
    states = [
        State.RUNNING,
        State.INITIALIZING,
        State.FAILED,
        State.PENDING,
        State.SCALED_TO_ZERO,
        State.UPDATING,
        None,
    ]
    async with world(awake=True) as w:

        async def flap() -> None:
            while True:
                await asyncio.sleep(chance.uniform(0.1, 4.0))
                w.provider.set_state("chat", chance.choice(states), message="flapping")
                if chance.random() < 0.3:
                    w.hang_up()

        flapping = asyncio.create_task(flap())
        replies = await w.burst(over=40.0)
        flapping.cancel()
        assert {reply.status for reply in replies} <= TOLD
        for reply in replies:
            if reply.status == 200 and not reply.cut:
                assert reply.body in NUMBERED
            elif reply.status != 200:
                assert reply.json["reason"] in {
                    "wake_failed",
                    "wake_timeout",
                    "upstream_unreachable",
                    "upstream_broken",
                }
        outcomes = await w.settled(BURST)
        assert outcomes["served"] == len([reply for reply in replies if reply.status == 200 and not reply.cut])
        w.provider.set_state("chat", State.SCALED_TO_ZERO)
        await w.served_again()


@hurried
async def test_those_who_leave_while_the_wake_goes_wrong_are_no_demand_any_more() -> None:
    async with world() as w:
        w.provider.script("chat", "wake", *[Fault.LOSE] * 3)
        async with contextlib.AsyncExitStack() as crowd:
            for number in range(20):
                client = await crowd.enter_async_context(w.stage.client())
                client.send(gateway_stage.request(f"/endpoints/chat/{number}", method="GET"))
            await until(lambda: w.fleet.endpoint("chat").waiting == 20)
        assert await w.settled(20) == {"client_gone": 20}
