"""Endpoints that are added, changed and taken out while the server runs. In simulated time."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import MemoryJournal
from lamplighter.domain.endpoint import Deployment, EngineSpec, Phase, Spec, State, Status
from lamplighter.errors import (
    EndpointExists,
    EndpointNotFound,
    InvalidInput,
    PaymentRequired,
    ProviderUnreachable,
    QuotaExceeded,
    WakeFailed,
)
from lamplighter.providers.memory import Fault, MemoryProvider
from tests.unit.test_fleet import spec, stage
from tests.virtual_time import VirtualClock, virtual

NEW_ENGINE = EngineSpec(engine="none", args=("--new",))


def deployed(name: str = "made", **changes: Any) -> Spec:
    return dataclasses.replace(spec(name), deployment=Deployment(document={}, created_at=1.0), **changes)


@virtual
async def test_an_added_endpoint_is_asleep_and_the_first_request_wakes_it() -> None:
    async with stage() as s:
        assert (await s.fleet.add(deployed())).spec.name == "made"
        await asyncio.sleep(0.1)
        assert s.phase("made") is Phase.SLEEPING
        assert await s.serve("made") == pytest.approx(5, abs=0.1)


@virtual
async def test_an_endpoint_whose_predecessor_still_serves_is_listed_once_and_as_itself() -> None:
    again = dataclasses.replace(spec("chat"), task="text-generation")
    async with stage(spec("chat"), spec("small")) as s:
        held = await s.fleet.claim("chat", None)
        await s.fleet.apply({"small": spec("small")})
        assert [one.name for one in s.fleet.listings()] == ["small"]
        await s.fleet.apply({"chat": again, "small": spec("small")})
        assert s.fleet.resolve("chat") == "chat"
        listed = {one.name: one for one in s.fleet.listings()}
        assert list(listed) == ["chat", "small"]
        assert (listed["chat"].phase, listed["chat"].task) == (Phase.SLEEPING, "text-generation")
        held.release()
        assert await s.serve("chat")


@virtual
async def test_a_name_or_alias_that_is_taken_can_not_be_added() -> None:
    async with stage(spec(aliases=("smol",))) as s:
        for taken in (
            deployed("chat"),
            deployed("smol"),
            deployed("x", aliases=("chat",)),
            deployed("x", aliases=("smol",)),
        ):
            with pytest.raises(EndpointExists):
                await s.fleet.add(taken)
        assert [endpoint.spec.name for endpoint in s.fleet.endpoints()] == ["chat"]
        await s.fleet.add(deployed("x"))


class SlowToCreate(MemoryProvider):
    async def create(self, spec: Spec) -> Status:
        await asyncio.sleep(2)
        return await super().create(spec)


@virtual
async def test_of_two_that_are_added_at_once_under_one_name_one_is_made() -> None:
    fleet = Fleet({"memory": SlowToCreate()}, MemoryJournal(), clock=VirtualClock())
    await fleet.open([])
    both = await asyncio.gather(*(fleet.add(deployed()) for _ in range(2)), return_exceptions=True)
    assert [type(result).__name__ for result in both] == ["Endpoint", "EndpointExists"]
    await fleet.close(drain=0.0)


@virtual
async def test_an_endpoint_whose_caller_leaves_while_it_is_added_is_made_all_the_same() -> None:
    fleet = Fleet({"memory": SlowToCreate()}, MemoryJournal(), clock=VirtualClock())
    await fleet.open([])
    adding = asyncio.create_task(fleet.add(deployed()))
    await asyncio.sleep(1)
    adding.cancel()
    await asyncio.sleep(2)
    assert [endpoint.spec.name for endpoint in fleet.endpoints()] == ["made"]
    await fleet.close(drain=0.0)


@virtual
@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.PAYMENT, PaymentRequired), (Fault.QUOTA, QuotaExceeded), (Fault.INVALID, InvalidInput)],
)
async def test_what_its_provider_refuses_leaves_nothing_behind(fault: Fault, error: type[Exception]) -> None:
    async with stage() as s:
        s.provider.script("made", "create", fault)
        with pytest.raises(error):
            await s.fleet.add(deployed(aliases=("other",)))
        assert s.fleet.resolve("made") is s.fleet.resolve("other") is None
        assert not s.fleet.troubles
        await s.fleet.add(deployed(aliases=("other",)))


@virtual
async def test_a_provider_that_never_answers_does_not_keep_its_caller_for_ever() -> None:
    async with stage() as s:
        s.provider.script("made", "create", Fault.HANG)
        began = s.clock.now()
        with pytest.raises(ProviderUnreachable, match="did not make endpoint 'made' in 60 s"):
            await s.fleet.add(deployed())
        assert s.clock.now() - began < 61
        assert not await s.fleet.is_there("made")


@virtual
async def test_an_endpoint_whose_making_was_answered_by_nobody_is_looked_for_and_not_doubled() -> None:
    async with stage() as s:
        s.provider.script("made", "create", Fault.LOSE_ANSWER)
        with pytest.raises(ProviderUnreachable) as raised:
            await s.fleet.add(deployed())
        assert raised.value.in_doubt
        assert await s.fleet.is_there("made")
        with pytest.raises(EndpointExists):
            await s.fleet.add(deployed())
        assert await s.serve("made") == pytest.approx(5, abs=0.1)


@virtual
async def test_one_that_can_t_be_brought_up_is_looked_after_and_says_why() -> None:
    async with stage() as s:
        await s.fleet.add(dataclasses.replace(deployed(), flaw="its secrets are gone"))
        with pytest.raises(InvalidInput, match="its secrets are gone"):
            await s.fleet.resume("made", actor="me")
        with pytest.raises(WakeFailed, match="its secrets are gone"):
            await s.serve("made")
        assert ("wake", "made") not in s.provider.calls
        await s.fleet.pause("made", actor="me")
        assert await s.fleet.remove_and_wait("made", timeout=10)


@virtual
async def test_what_is_refused_is_on_record_too() -> None:
    async with stage() as s:
        with pytest.raises(EndpointNotFound):
            await s.fleet.pause("nope", actor="me")
        record = s.journal.operations[-1]
        assert (record.operation, record.endpoint, record.success) == ("ask pause", "nope", False)
        assert "no endpoint or model 'nope'" in (record.error or "")


@virtual
async def test_a_reload_leaves_what_was_made_over_the_management_api() -> None:
    async with stage() as s:
        await s.fleet.add(deployed())
        assert await s.fleet.apply({"chat": spec()}) == {}
        assert [endpoint.spec.name for endpoint in s.fleet.endpoints()] == ["chat", "made"]
        from_file = dataclasses.replace(spec("file"), deployment=Deployment(document={}))
        await s.fleet.apply({"file": from_file})
        await s.fleet.apply({})
        await asyncio.sleep(1)
        assert [endpoint.spec.name for endpoint in s.fleet.endpoints()] == ["made"]


@virtual
async def test_a_configuration_can_not_take_the_name_of_what_was_made_over_the_management_api() -> None:
    async with stage() as s:
        await s.fleet.add(deployed(aliases=("also",)))
        refused = await s.fleet.apply({"chat": spec(), "made": spec("made"), "x": spec("x", aliases=("also",))})
        assert set(refused) == {"made", "x"}
        assert "made over the management API" in refused["made"]
        assert "'also'" in refused["x"]
        assert s.fleet.endpoint("made").spec.deployed
        await s.fleet.remove_and_wait("made", timeout=10)
        assert await s.fleet.apply({"chat": spec(), "made": spec("made")}) == {}


@virtual
async def test_what_is_taken_out_is_shown_until_it_is_gone_and_can_not_be_had_again_before() -> None:
    async with stage(delete_delay=10.0) as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=20))
        await asyncio.sleep(1)
        assert not await s.fleet.remove_and_wait("chat", timeout=5)
        seen = s.fleet.endpoint("chat")
        assert (seen.leaving, seen.state, seen.in_flight) == (True, State.RUNNING, 1)
        assert s.fleet.listings() == []
        with pytest.raises(EndpointNotFound):
            await s.fleet.claim("chat", None)
        with pytest.raises(EndpointExists):
            await s.fleet.add(deployed("chat"))
        await streaming
        await asyncio.sleep(5)
        assert s.fleet.endpoint("chat").phase is Phase.SLEEPING, "its provider is still deleting it"
        assert await s.fleet.remove_and_wait("chat", timeout=10)
        with pytest.raises(EndpointNotFound):
            s.fleet.endpoint("chat")
        await s.fleet.add(deployed("chat"))


@virtual
async def test_while_one_replaces_another_of_its_name_the_leaving_one_is_shown() -> None:
    async with stage() as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=20))
        await asyncio.sleep(1)
        s.fleet.remove("chat")
        await s.fleet.apply({"chat": spec(idle_timeout=9.0)})
        assert s.fleet.endpoint("chat").leaving
        assert [endpoint.spec.name for endpoint in s.fleet.endpoints()] == ["chat"]
        await streaming
        await asyncio.sleep(3)
        assert not s.fleet.endpoint("chat").leaving


@virtual
async def test_an_endpoint_that_vanished_at_its_provider_can_be_taken_out() -> None:
    async with stage() as s:
        await s.serve()
        await s.provider.delete("chat")
        await asyncio.sleep(70)
        assert s.phase() is Phase.UNKNOWN
        assert "There is no endpoint or model 'chat'" in (s.fleet.endpoint("chat").message or "")
        assert await s.fleet.remove_and_wait("chat", timeout=10)


# Changes.


@virtual
async def test_a_change_that_its_provider_takes_in_place_cuts_nobody_off() -> None:
    async with stage(updates_in_place=True) as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=20))
        await asyncio.sleep(1)
        changed = await s.fleet.update(dataclasses.replace(spec(), engine=NEW_ENGINE))
        assert changed.spec.engine == NEW_ENGINE
        await asyncio.sleep(0.1)
        seen = s.fleet.endpoint("chat")
        assert (seen.state, seen.phase) == (State.UPDATING, Phase.RUNNING)
        assert await s.serve() == 0.0, "the replicas go on while it is updated"
        await streaming
        assert s.fleet.endpoint("chat").state is State.RUNNING
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_an_update_that_fails_leaves_the_old_replicas_serving_and_says_so() -> None:
    async with stage(updates_in_place=True) as s:
        await s.serve()
        s.provider.script("chat", "update", Fault.UPDATE_FAILED)
        await s.fleet.update(dataclasses.replace(spec(), engine=NEW_ENGINE))
        await asyncio.sleep(10)
        seen = s.fleet.endpoint("chat")
        assert (seen.state, seen.phase) == (State.UPDATE_FAILED, Phase.RUNNING)
        assert seen.message == "the update was scripted to fail"
        assert await s.serve() == 0.0
        await asyncio.sleep(65)
        assert s.phase() is Phase.SLEEPING, "and it idles out as any other"


@virtual
@pytest.mark.parametrize("fault", [Fault.INVALID, Fault.PAYMENT, Fault.UNREACHABLE, Fault.REFUSE])
@pytest.mark.parametrize("awake", [True, False])
@pytest.mark.parametrize("change", [{"engine": NEW_ENGINE}, {"aliases": ("other",)}])
async def test_a_change_that_is_refused_is_told_and_leaves_the_endpoint_as_it_was(
    fault: Fault, awake: bool, change: dict[str, Any]
) -> None:
    async with stage() as s:
        if awake:
            await s.serve()
        before = s.provider.counts("chat")
        s.provider.script("chat", "update", fault)
        with pytest.raises(Exception) as caught:
            await s.fleet.update(dataclasses.replace(spec(), **change))
        assert type(caught.value).__module__ == "lamplighter.errors"
        assert s.fleet.endpoint("chat").spec == spec()
        assert s.fleet.resolve("other") is None
        await asyncio.sleep(1)
        assert s.provider.counts("chat") == before
        assert await s.serve() == pytest.approx(0 if awake else 5, abs=0.1)


@virtual
async def test_a_change_that_needs_sleep_is_told_as_taken_and_done_when_it_is_quiet() -> None:
    async with stage() as s:
        await s.serve()
        streaming = asyncio.create_task(s.serve(seconds=20))
        await asyncio.sleep(1)
        await s.fleet.update(dataclasses.replace(spec(), engine=NEW_ENGINE))
        assert s.fleet.endpoint("chat").spec.engine != NEW_ENGINE
        await streaming
        await asyncio.sleep(2)
        assert s.fleet.endpoint("chat").spec.engine == NEW_ENGINE


@virtual
async def test_a_change_is_given_up_when_the_provider_does_not_answer() -> None:
    async with stage() as s:
        await s.serve()
        s.provider.script("chat", "update", Fault.HANG)
        with pytest.raises(ProviderUnreachable):
            await s.fleet.update(dataclasses.replace(spec(), engine=NEW_ENGINE))
        assert await s.serve() == 0.0
        await asyncio.sleep(10)
        assert s.fleet.endpoint("chat").spec == spec()
        assert s.provider.counts("chat") == (1, 0)


@virtual
async def test_a_new_configuration_is_told_again_until_its_provider_can_be_asked() -> None:
    async with stage() as s:
        s.provider.script("chat", "update", *[Fault.UNREACHABLE] * 4)
        await s.fleet.apply({"chat": dataclasses.replace(spec(), engine=NEW_ENGINE)})
        await asyncio.sleep(120)
        assert s.fleet.endpoint("chat").spec.engine == NEW_ENGINE
        assert [o.success for o in s.journal.operations if o.operation == "update"] == [False] * 4 + [True]


@virtual
async def test_a_change_of_names_that_are_taken_is_refused() -> None:
    async with stage(spec("a"), spec("b", aliases=("bee",))) as s:
        for taken in ("b", "bee"):
            with pytest.raises(EndpointExists):
                await s.fleet.update(spec("a", aliases=(taken,)))
        with pytest.raises(EndpointNotFound):
            await s.fleet.update(spec("c"))
        await s.fleet.update(spec("b", aliases=("wasp",)))
        assert (s.fleet.resolve("wasp"), s.fleet.resolve("bee")) == ("b", None)


# What a provider may say.


@virtual
async def test_a_state_that_nobody_knows_is_told_and_nothing_is_done_by_guess() -> None:
    async with stage() as s:
        await s.serve()
        await asyncio.sleep(1)
        s.provider.set_state("chat", None, message="hibernating")
        await asyncio.sleep(200)
        seen = s.fleet.endpoint("chat")
        assert (seen.phase, seen.state) == (Phase.UNKNOWN, State.RUNNING)
        assert seen.message == "the provider says 'hibernating', which is no state that is known here"
        assert s.provider.counts("chat") == (1, 0), "not put to sleep either"
        assert await s.serve() == 0.0, "what ran may still be there"
        s.provider.set_state("chat", State.RUNNING)
        await asyncio.sleep(1)
        assert (s.phase(), s.fleet.endpoint("chat").message) == (Phase.RUNNING, None)


@virtual
async def test_a_server_starts_though_a_provider_says_what_nobody_knows() -> None:
    provider = MemoryProvider(faults={"chat": {"observe": "odd_state"}})
    fleet = Fleet({"memory": provider}, MemoryJournal(), clock=VirtualClock())
    await fleet.open([spec()])
    assert fleet.endpoint("chat").phase is Phase.UNKNOWN
    await fleet.close(drain=0.0)


@virtual
async def test_a_provider_that_does_not_tell_paused_from_scaled_to_zero_is_not_asked_in_a_loop() -> None:
    class Forgetful(MemoryProvider):
        async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
            await super().sleep(name)

    provider = Forgetful(start_delay=1.0, stop_delay=1.0)
    fleet = Fleet({"memory": provider}, MemoryJournal(), clock=VirtualClock())
    await fleet.open([spec()])
    await fleet.pause("chat", actor="ann")
    await asyncio.sleep(2000)
    assert len(provider.calls) < 25  # one each 30 s would be 66
    assert fleet.endpoint("chat").paused
    await fleet.close(drain=0.0)
