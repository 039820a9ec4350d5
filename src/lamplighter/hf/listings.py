"""Reading the listing of hardware: vendors, their regions, what can be deployed there."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from lamplighter.domain.hardware import Hardware
from lamplighter.hf.reading import Raw, amount, part, parts, text, whole

_UNUSABLE = frozenset({"not_available", "deprecated"})


def hardware_of(raw: Any) -> list[Hardware]:
    """Read `/v2/provider` or `/v2/provider/{namespace}`. What lacks a type or a size can't be asked for: left out.

    Where a whole vendor or region is not available, neither is what is in it.
    """
    return list(_every(raw))


def _every(raw: Any) -> Iterator[Hardware]:
    for vendor in parts(raw, "vendors"):
        for region in parts(vendor, "regions"):
            for compute in parts(region, "computes"):
                if hardware := _one(vendor, region, compute):
                    yield hardware


def _one(vendor: Raw, region: Raw, compute: Raw) -> Hardware | None:
    instance_type, size = text(compute, "instanceType"), text(compute, "instanceSize")
    vendor_name, region_name = text(vendor, "name"), text(region, "name")
    if not (instance_type and size and vendor_name and region_name):
        return None
    quota, own = part(compute, "quota"), part(compute, "lamplighter")
    return Hardware(
        id=text(compute, "id") or f"{vendor_name}-{region_name}-{instance_type}-{size}",
        vendor=vendor_name,
        region=region_name,
        region_label=text(region, "label") or "",
        accelerator=text(compute, "accelerator") or "",
        instance_type=instance_type,
        instance_size=size,
        architecture=text(compute, "architecture") or "",
        status=_status(vendor, region, compute),
        num_accelerators=whole(compute, "numAccelerators") or 0,
        num_cpus=whole(compute, "numCpus"),
        memory_gb=amount(compute, "memoryGb"),
        gpu_memory_gb=amount(compute, "gpuMemoryGb"),
        price_per_hour=amount(compute, "pricePerHour"),
        price=_price(compute.get("pricePerHour")),
        price_currency=_word(compute, "currency", "USD"),
        price_unit=_word(compute, "priceUnit", "hour"),
        price_source=text(own, "priceSource") or "",
        price_age=amount(own, "priceAge"),
        max_accelerators=whole(quota, "maxAccelerators") or 0,
        used_accelerators=whole(quota, "usedAccelerators") or 0,
    )


def _price(told: object) -> Decimal | str | None:
    """A price as it was told; a text where that is no exact number."""
    if told is None or isinstance(told, Decimal):
        return told
    return Decimal(told) if type(told) is int else str(told)[:100]


def _word(raw: Raw, key: str, usual: str) -> str:
    """What stands there, as text; `usual` where nothing does: the API tells neither unit nor currency."""
    value = raw.get(key)
    return usual if value is None else str(value)[:100]


def _status(vendor: Raw, region: Raw, compute: Raw) -> str:
    for above in (vendor, region):
        if (status := text(above, "status")) in _UNUSABLE:
            return str(status)
    return text(compute, "status") or "available"
