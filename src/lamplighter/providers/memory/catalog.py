"""The hardware of a simulated provider: what it lists, what it costs, and what is left of the quota."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamplighter.domain.endpoint import Spec
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import InvalidInput, QuotaExceeded
from lamplighter.providers.memory.options import number, text, whole, wrong

VENDOR = REGION = "memory"

STATUSES = ("available", "low_availability", "not_available", "reserved", "deprecated")

_NEEDED = ("vendor", "region", "instance_type", "instance_size")
_NUMBERS = ("memory_gb", "gpu_memory_gb", "price_per_hour")
_COUNTS = ("num_accelerators", "num_cpus", "max_accelerators", "used_accelerators")
_KEYS = tuple(field.name for field in dataclasses.fields(Hardware))
_QUOTA = 16


@dataclass(frozen=True, slots=True)
class _Place:
    """What a quota is counted for."""

    vendor: str
    region: str
    instance_type: str


class Catalog:
    """What can be had: a small default, and what the configuration adds.

    Each entry of `hardware` is `{vendor, region, instance_type, instance_size, …}` with the fields of `Hardware`.
    Raises InvalidInput, with the option's name in front.
    """

    def __init__(self, hardware: object = ()) -> None:
        if not isinstance(hardware, list | tuple):
            raise InvalidInput(f"hardware: {hardware!r} is no list of hardware.", field="hardware")
        added = [_read(f"hardware[{index}]", entry) for index, entry in enumerate(hardware)]
        known = {one.id: one for one in (*_DEFAULT, *added)}
        self._all = tuple(known.values())

    def listing(self, present: Iterable[tuple[Spec, bool]]) -> Sequence[Hardware]:
        """All hardware, with what is used of it: `present` are the endpoints, and whether each counts."""
        used: dict[_Place, int] = {}
        for spec, counts in present:
            one = self.of(spec)
            if one is not None and counts:
                place = _place(one)
                used[place] = used.get(place, 0) + one.num_accelerators * spec.replicas
        return [
            dataclasses.replace(one, used_accelerators=one.used_accelerators + used.get(_place(one), 0))
            for one in self._all
        ]

    def of(self, spec: Spec) -> Hardware | None:
        """What an endpoint is deployed on; None for one that was not made over the management API."""
        document = spec.deployment.document if spec.deployment is not None else {}
        compute, provider = _part(document, "compute"), _part(document, "provider")
        wanted = (
            provider.get("vendor"),
            provider.get("region"),
            compute.get("instanceType"),
            compute.get("instanceSize"),
        )
        for one in self._all:
            if (one.vendor, one.region, one.instance_type, one.instance_size) == wanted:
                return one
        return None

    def check_quota(self, spec: Spec, others: Iterable[tuple[Spec, bool]]) -> None:
        """Refuse a start that the quota does not allow. Raises QuotaExceeded."""
        one = self.of(spec)
        if one is None:
            return
        now = next(each for each in self.listing(others) if each.id == one.id)
        needed = one.num_accelerators * spec.replicas
        if now.used_accelerators + needed > now.max_accelerators:
            raise QuotaExceeded(
                f"the quota for {one.instance_type} in {one.vendor} {one.region} is used up: "
                f"{now.used_accelerators} of {now.max_accelerators} are taken, {needed} more are needed. "
                "Pausing another endpoint frees some."
            )


def _place(one: Hardware) -> _Place:
    return _Place(one.vendor, one.region, one.instance_type)


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = document.get(key)
    return part if isinstance(part, Mapping) else {}


def _read(where: str, entry: object) -> Hardware:
    if not isinstance(entry, Mapping):
        needed = ", ".join(_NEEDED)
        raise InvalidInput(f"{where}: {entry!r} is no table; it needs {needed}.", field=where)
    for key in entry:
        if key not in _KEYS:
            raise wrong(where, key, "field of hardware", _KEYS)
    for key in _NEEDED:
        if key not in entry:
            raise InvalidInput(f"{where}: {key} is missing, such as {_EXAMPLE[key]!r}.", field=f"{where}.{key}")
    given = {key: _value(f"{where}.{key}", key, value) for key, value in entry.items()}
    size = re.fullmatch(r"x(\d{1,3})", given["instance_size"])
    defaults = {
        "id": "-".join(given[key] for key in _NEEDED),
        "accelerator": "cpu" if "cpu" in given["instance_type"] else "gpu",
        "architecture": given["instance_type"],
        "num_accelerators": int(size[1]) if size else 1,
        "max_accelerators": _QUOTA,
    }
    return Hardware(**(defaults | given))


def _value(where: str, key: str, value: object) -> Any:
    if key in _NUMBERS:
        return number(where, value)
    if key in _COUNTS:
        return whole(where, value, least=1 if key == "num_accelerators" else 0)
    found = text(where, value)
    if key == "status" and found not in STATUSES:
        raise wrong(where, found, "status of hardware", STATUSES)
    return found


_EXAMPLE = {"vendor": "aws", "region": "us-east-1", "instance_type": "nvidia-l4", "instance_size": "x1"}


def _default(kind: str, size: int, price: float, **more: Any) -> Hardware:
    return Hardware(
        id=f"{VENDOR}-{REGION}-{kind}-x{size}",
        vendor=VENDOR,
        region=REGION,
        accelerator=kind,
        instance_type=kind,
        instance_size=f"x{size}",
        architecture=f"simulated {kind.upper()}",
        num_accelerators=size,
        num_cpus=2 * size,
        memory_gb=4.0 * size,
        price_per_hour=price * size,
        max_accelerators=_QUOTA,
        region_label="in memory",
        **more,
    )


_DEFAULT = (
    *(_default("cpu", size, 0.03) for size in (1, 2, 4, 8)),
    *(_default("gpu", size, 0.5, gpu_memory_gb=24.0 * size) for size in (1, 4)),
)
