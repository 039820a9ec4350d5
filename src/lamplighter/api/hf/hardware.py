"""`/v2/provider`: what endpoints can be made on, with prices and what is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter

from lamplighter.api.access import Counted
from lamplighter.api.hf.context import Caller, Served, ServedWire
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.control.demand import Offer
from lamplighter.control.prices import PriceBook
from lamplighter.domain.hardware import Hardware

router = APIRouter(tags=["hardware"], responses=RESPONSES)

_OWN = "/v2/provider/{namespace}"
_QUOTAS = "/v2/provider/quotas/{namespace}"


@router.get("/v2/provider")
async def list_hardware(served: Served, _: Counted) -> dict[str, Any]:
    """List vendors, regions and hardware, to anybody. The quota reads 0: it is told to who has a key."""
    listed = await _priced(served)
    unknown = [dataclasses.replace(one, max_accelerators=0, used_accelerators=0) for one in listed]
    return by_vendor(unknown)


@router.get(_QUOTAS)
async def list_quotas(served: Served, _: Caller) -> dict[str, Any]:
    """List how many accelerators of each type may be in use, and are."""
    listed = [offer.hardware for offer in await served.deployments.offers()]
    vendors = sorted({one.vendor for one in listed})
    return {"vendors": [{"name": vendor, "quotas": _quotas(listed, vendor)} for vendor in vendors]}


@router.get(_OWN)
async def list_own_hardware(served: Served, _: Caller) -> dict[str, Any]:
    """List vendors, regions and hardware with this server's quota."""
    return by_vendor(await _priced(served))


async def _priced(served: ServedWire) -> list[Hardware]:
    """What there is, at the price that counts, with who told it and how long ago."""
    return [_with_price(offer, served.prices) for offer in await served.deployments.offers()]


def _with_price(offer: Offer, book: PriceBook | None) -> Hardware:
    one = offer.hardware
    place = (one.vendor, one.region, one.instance_type, one.instance_size)
    listing = book.hardware_price(offer.provider, place) if book is not None else None
    if book is None or listing is None:
        return one
    quote = listing.quote
    return dataclasses.replace(
        one, price_per_hour=float(quote.amount), price_source=quote.source, price_age=book.age(quote)
    )


def by_vendor(listed: Sequence[Hardware]) -> dict[str, Any]:
    """The nested shape: vendors, their regions, what is there."""
    vendors = sorted({one.vendor for one in listed})
    return {"vendors": [_vendor(vendor, [one for one in listed if one.vendor == vendor]) for vendor in vendors]}


def _vendor(name: str, listed: Sequence[Hardware]) -> dict[str, Any]:
    regions = sorted({one.region for one in listed})
    return {
        "name": name,
        "status": "available",
        "regions": [_region(region, [one for one in listed if one.region == region]) for region in regions],
    }


def _region(name: str, listed: Sequence[Hardware]) -> dict[str, Any]:
    label = next((one.region_label for one in listed if one.region_label), name)
    return {"name": name, "label": label, "status": "available", "computes": [_compute(one) for one in listed]}


def _compute(one: Hardware) -> dict[str, Any]:
    return {
        "id": one.id,
        "accelerator": one.accelerator,
        "numAccelerators": one.num_accelerators,
        "numCpus": one.num_cpus,
        "memoryGb": one.memory_gb,
        "gpuMemoryGb": one.gpu_memory_gb,
        "instanceType": one.instance_type,
        "instanceSize": one.instance_size,
        "architecture": one.architecture,
        "status": one.status,
        "pricePerHour": one.price_per_hour,
        "lamplighter": {"priceSource": one.price_source or None, "priceAge": one.price_age},
        "quota": {"maxAccelerators": one.max_accelerators, "usedAccelerators": one.used_accelerators},
    }


def _quotas(listed: Iterable[Hardware], vendor: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in listed:
        if one.vendor == vendor:
            quota = found.setdefault(one.instance_type, {"instanceType": one.instance_type})
            quota["architecture"] = one.architecture
            quota["maxAccelerators"] = max(quota.get("maxAccelerators", 0), one.max_accelerators)
            quota["usedAccelerators"] = max(quota.get("usedAccelerators", 0), one.used_accelerators)
    return [found[key] for key in sorted(found)]
