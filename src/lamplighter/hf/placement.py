"""Whether what is asked for can be had: vendor, region, instance and quota against the hardware that is listed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Protocol

from lamplighter.domain.hardware import Hardware
from lamplighter.errors import InvalidInput, NoCapacity, QuotaExceeded
from lamplighter.hf.rules import near

_MOST_SHOWN = 8


class Wanted(Protocol):
    """What a DeploymentForm says of its hardware."""

    @property
    def vendor(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def accelerator(self) -> str: ...
    @property
    def instance_type(self) -> str: ...
    @property
    def instance_size(self) -> str: ...
    @property
    def min_replica(self) -> int: ...


def check_hardware(wanted: Wanted, hardware: Sequence[Hardware]) -> Hardware:
    """Find what is wanted in a namespace's hardware listing.

    Raises InvalidInput with the nearest that there is, NoCapacity where none is free, QuotaExceeded where the
    namespace may not have so much. Quota is looked at for one replica at least.
    """
    here = _narrow(hardware, "vendor", wanted.vendor, "no vendor here")
    if not any(item.region == wanted.region for item in here):
        raise _no_region(wanted, here, hardware)
    there = [item for item in here if item.region == wanted.region]
    if not any(item.instance_type == wanted.instance_type for item in there):
        raise _no_type(wanted, there, here)
    typed = [item for item in there if item.instance_type == wanted.instance_type]
    place = f"{wanted.instance_type} in {wanted.region}"
    found = _narrow(typed, "instance_size", wanted.instance_size, f"no size of {place}")[0]
    _check_accelerator(wanted, found)
    _check_free(wanted, found, there)
    return found


def _narrow(hardware: Iterable[Hardware], field: str, word: str, what: str) -> list[Hardware]:
    listed = list(hardware)
    if found := [item for item in listed if getattr(item, field) == word]:
        return found
    known = {getattr(item, field) for item in listed}
    raise InvalidInput(f"{field}: {word!r} is {what}; {near(word, known)}", field=field)


def _no_region(wanted: Wanted, here: Iterable[Hardware], everywhere: Iterable[Hardware]) -> InvalidInput:
    elsewhere = sorted({item.vendor for item in everywhere if item.region == wanted.region})
    hint = f"it is one of {elsewhere[0]}" if elsewhere else near(wanted.region, {item.region for item in here})
    return InvalidInput(f"region: {wanted.region!r} is no region of {wanted.vendor}; {hint}", field="region")


def _no_type(wanted: Wanted, there: Iterable[Hardware], here: Iterable[Hardware]) -> InvalidInput:
    text = f"instance_type: {wanted.instance_type!r} is not offered in {wanted.vendor} {wanted.region}"
    regions = sorted({item.region for item in here if item.instance_type == wanted.instance_type})
    if regions:
        return InvalidInput(f"{text}, but in {_some(regions)}", field="instance_type")
    known = {item.instance_type for item in there}
    alike = {item.instance_type for item in there if item.accelerator == wanted.accelerator} or known
    pool = known if difflib.get_close_matches(wanted.instance_type[:80], known, n=1) else alike
    return InvalidInput(f"{text}; {near(wanted.instance_type, pool)}", field="instance_type")


def _check_accelerator(wanted: Wanted, found: Hardware) -> None:
    if found.accelerator and wanted.accelerator != found.accelerator:
        raise InvalidInput(
            f"accelerator: {wanted.accelerator!r} does not go with {found.instance_type}, "
            f"which is {found.accelerator!r}",
            field="accelerator",
        )


def _check_free(wanted: Wanted, found: Hardware, there: Iterable[Hardware]) -> None:
    what = f"{found.instance_type} {found.instance_size} in {found.vendor} {found.region}"
    free = [item for item in there if item.deployable and item.accelerator == found.accelerator]
    others = sorted({f"{item.instance_type} {item.instance_size}" for item in free})
    instead = f" Free there now: {_some(others)}." if others else ""
    if found.status == "deprecated":
        raise InvalidInput(f"instance_type: {what} is no longer offered.{instead}", field="instance_type")
    if found.status == "not_available":
        raise NoCapacity(f"{what} is not available now.{instead}")
    needed = found.num_accelerators * max(1, wanted.min_replica)
    if found.max_accelerators - found.used_accelerators < needed:
        raise QuotaExceeded(
            f"The quota for {what} is {found.max_accelerators}, {found.used_accelerators} in use and {needed} needed: "
            f"pause an endpoint that uses it, or ask for more.{instead}"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_SHOWN]) + (", …" if len(names) > _MOST_SHOWN else "")
