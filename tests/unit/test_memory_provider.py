"""What the memory provider plays beyond the contract, and how it refuses a script that can't be."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from lamplighter.domain.endpoint import Deployment, EngineSpec, Spec, State
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import (
    Forbidden,
    InvalidInput,
    NoCapacity,
    PaymentRequired,
    ProviderError,
    ProviderUnreachable,
    QuotaExceeded,
    RateLimited,
)
from lamplighter.providers.memory import Fault, MemoryProvider
from lamplighter.providers.memory.faults import REFUSALS, RETRY_AFTER, VERBS
from lamplighter.providers.registry import Site, make_provider
from tests.virtual_time import virtual

SPEC = Spec(name="e", provider="memory", engine=EngineSpec(engine="none"))
L4 = {
    "vendor": "aws",
    "region": "us-east-1",
    "instance_type": "nvidia-l4",
    "instance_size": "x1",
    "price_per_hour": 0.8,
    "max_accelerators": 2,
}


def on_l4(name: str, replicas: int = 1) -> Spec:
    document = {
        "provider": {"vendor": "aws", "region": "us-east-1"},
        "compute": {"instanceType": "nvidia-l4", "instanceSize": "x1"},
    }
    return dataclasses.replace(SPEC, name=name, replicas=replicas, deployment=Deployment(document=document))


async def state(provider: MemoryProvider, name: str = "e") -> State | None:
    return (await provider.observe(name)).state


@virtual
async def test_a_slow_cloud_leaves_an_endpoint_pending_for_a_while() -> None:
    provider = MemoryProvider(pending_delay=60.0, start_delay=30.0)
    await provider.create(SPEC)
    await provider.wake("e")
    assert await state(provider) is State.PENDING
    await asyncio.sleep(59)
    assert await state(provider) is State.PENDING
    await asyncio.sleep(2)
    assert await state(provider) is State.INITIALIZING
    await asyncio.sleep(30)
    assert await state(provider) is State.RUNNING


@virtual
async def test_a_deletion_may_linger() -> None:
    provider = MemoryProvider(delete_delay=5.0)
    await provider.create(SPEC)
    deleting = asyncio.create_task(provider.delete("e"))
    await asyncio.sleep(4)
    assert await state(provider) is State.SCALED_TO_ZERO
    with pytest.raises(Exception, match="still being deleted"):
        await provider.create(SPEC)
    again = asyncio.create_task(provider.delete("e"))
    await asyncio.gather(deleting, again)
    assert (await provider.create(SPEC)).state is State.SCALED_TO_ZERO


@virtual
async def test_an_update_that_fails_brings_the_old_one_up_and_a_good_one_heals() -> None:
    provider = MemoryProvider(start_delay=5.0)
    await provider.create(SPEC)
    provider.script("e", "update", Fault.UPDATE_FAILED)
    await provider.update(dataclasses.replace(SPEC, replicas=2))
    await provider.wake("e")
    await asyncio.sleep(6)
    status = await provider.observe("e")
    assert (status.state, len(status.replicas)) == (State.UPDATE_FAILED, 1)
    await provider.sleep("e")
    await asyncio.sleep(1)
    await provider.update(dataclasses.replace(SPEC, replicas=2))
    await provider.wake("e")
    await asyncio.sleep(6)
    assert await state(provider) is State.RUNNING


@virtual
async def test_an_update_in_place_passes_through_updating_with_its_replicas() -> None:
    provider = MemoryProvider(start_delay=5.0, updates_in_place=True)
    await provider.create(SPEC)
    await provider.wake("e")
    await asyncio.sleep(6)
    status = await provider.update(dataclasses.replace(SPEC, task="other"))
    assert (status.state, len(status.replicas)) == (State.UPDATING, 1)
    await asyncio.sleep(6)
    assert await state(provider) is State.RUNNING


@virtual
async def test_the_quota_counts_all_but_what_is_paused() -> None:
    provider = MemoryProvider(start_delay=1.0, hardware=[L4])
    for name in ("a", "b", "c"):
        await provider.create(on_l4(name))
        if name != "c":
            await provider.wake(name)
    with pytest.raises(QuotaExceeded, match="2 of 2 are taken, 1 more are needed"):
        await provider.wake("c")
    await provider.sleep("a", State.PAUSED)
    await asyncio.sleep(1)
    await provider.wake("c")
    assert await used(provider) == 2
    await provider.delete("b")
    assert await used(provider) == 1


async def used(provider: MemoryProvider) -> int:
    return next(one.used_accelerators for one in await provider.hardware() if one.vendor == "aws")


@virtual
async def test_replicas_and_sizes_count_for_the_quota() -> None:
    provider = MemoryProvider(hardware=[L4])
    await provider.create(on_l4("wide", replicas=3))
    with pytest.raises(QuotaExceeded):
        await provider.wake("wide")


@virtual
async def test_hardware_is_a_small_default_and_what_the_options_add() -> None:
    provider = MemoryProvider(hardware=[L4])
    listed = {one.id: one for one in await provider.hardware()}
    assert listed["aws-us-east-1-nvidia-l4-x1"] == Hardware(
        id="aws-us-east-1-nvidia-l4-x1",
        vendor="aws",
        region="us-east-1",
        accelerator="gpu",
        instance_type="nvidia-l4",
        instance_size="x1",
        architecture="nvidia-l4",
        price_per_hour=0.8,
        max_accelerators=2,
    )
    assert {one.vendor for one in listed.values()} == {"aws", "memory"}
    assert listed["memory-memory-cpu-x2"].price_per_hour == pytest.approx(0.06)


@virtual
@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("refuse", ProviderError),
        ("refuse_for_good", ProviderError),
        ("invalid", InvalidInput),
        ("no_capacity", NoCapacity),
        ("quota", QuotaExceeded),
        ("payment", PaymentRequired),
        ("forbidden", Forbidden),
        ("rate_limited", RateLimited),
        ("unreachable", ProviderUnreachable),
    ],
)
async def test_faults_by_name_are_used_up_one_by_one(word: str, error: type[Exception]) -> None:
    provider = MemoryProvider(faults={"e": {"create": [word], "wake": [word]}, "*": {"hardware": [word]}})
    with pytest.raises(error) as caught:
        await provider.create(SPEC)
    assert type(caught.value) is error
    assert getattr(caught.value, "retry_after", RETRY_AFTER) == RETRY_AFTER
    await provider.create(SPEC)
    with pytest.raises(error):
        await provider.wake("e")
    await provider.wake("e")
    with pytest.raises(error):
        await provider.hardware()
    assert await provider.hardware()


def test_every_refusal_by_name_is_tried_above() -> None:
    tried = {mark.args[1][index][0] for mark in _marks() for index in range(len(mark.args[1]))}
    assert {fault.value for fault in REFUSALS - {Fault.HANG}} == tried


def _marks() -> list[Any]:
    return list(test_faults_by_name_are_used_up_one_by_one.pytestmark)  # type: ignore[attr-defined]


@virtual
async def test_a_fault_that_is_a_single_word_never_ends_and_a_star_stands_for_any_endpoint() -> None:
    provider = MemoryProvider(faults={"*": {"wake": "no_capacity"}, "e": {"wake": ["lose"]}})
    await provider.create(SPEC)
    await provider.create(dataclasses.replace(SPEC, name="other"))
    await provider.wake("e")  # its own script comes first
    for name in ("e", "e", "other"):
        with pytest.raises(NoCapacity):
            await provider.wake(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start_delay": "soon"}, "start_delay: 'soon' is no number from 0 on."),
        ({"start_delay": -1}, "start_delay: -1 is no number from 0 on."),
        ({"stop_delay": True}, "stop_delay: True is no number"),
        ({"pending_delay": float("inf")}, "pending_delay: inf is no number"),
        ({"look_every": 0}, "look_every: 0 is no number from 0.01 on."),
        ({"reports_changes": "yes"}, "reports_changes: 'yes' is neither true nor false."),
        ({"url": "ftp://x"}, "url: 'ftp://x' is no address; it begins with http:// or https://."),
        ({"faults": ["refuse"]}, "faults: ['refuse'] is no table"),
        ({"faults": {"e": "refuse"}}, "faults.e: 'refuse' is no table"),
        ({"faults": {"e": {"wke": []}}}, "faults.e: 'wke' is no verb. Did you mean 'wake'?"),
        ({"faults": {"e": {"wake": ["no_capacty"]}}}, "Did you mean 'no_capacity'?"),
        ({"faults": {"e": {"wake": 7}}}, "faults.e.wake: 7 is no list of faults"),
        ({"hardware": "l4"}, "hardware: 'l4' is no list of hardware."),
        ({"hardware": ["l4"]}, "hardware[0]: 'l4' is no table; it needs vendor, region"),
        ({"hardware": [L4, {"vendor": "aws"}]}, "hardware[1]: region is missing, such as 'us-east-1'."),
        ({"hardware": [L4 | {"regin": 1}]}, "hardware[0]: 'regin' is no field of hardware. Did you mean 'region'?"),
        ({"hardware": [L4 | {"price_per_hour": "cheap"}]}, "hardware[0].price_per_hour: 'cheap' is no number"),
        ({"hardware": [L4 | {"max_accelerators": 1.5}]}, "hardware[0].max_accelerators: 1.5 is no whole number."),
        ({"hardware": [L4 | {"status": "sold out"}]}, "hardware[0].status: 'sold out' is no status of hardware."),
        ({"hardware": [L4 | {"region": 7}]}, "hardware[0].region: 7 is no text."),
    ],
)
def test_an_option_that_can_not_be_is_named_with_what_would_be_right(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_provider("memory", Site(name="cloud", data=Path(), options=options))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"providers.cloud.options.{next(iter(options))}")
    assert (caught.value.field or "").startswith(f"providers.cloud.options.{next(iter(options))}")


def test_what_a_provider_here_costs_has_to_be_a_price() -> None:
    for price in ("cheap", -1, True, float("nan")):
        with pytest.raises(InvalidInput, match=r"providers.local.options.price_per_hour: .* is no price"):
            make_provider("local", Site(name="local", data=Path(), options={"price_per_hour": price}))


def test_the_page_about_it_names_every_option_verb_and_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text("utf-8")
    options = set(inspect.signature(MemoryProvider).parameters) - {"resources"}
    assert [word for word in (*options, *(fault.value for fault in Fault)) if f"`{word}`" not in page] == []
    assert f"`{' '.join(VERBS)}`" in page
