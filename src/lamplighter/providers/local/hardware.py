"""This machine as a list of what endpoints can be made on, in the words of a cloud's hardware list."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence

import psutil

from lamplighter.domain.endpoint import Spec
from lamplighter.domain.hardware import Hardware

VENDOR = REGION = "local"
CPU_TYPE, GPU_TYPE = "cpu", "gpu"

_SIZES = (1, 2, 4, 8)


def machine_hardware(resources: Mapping[str, float], running: Iterable[Spec], price: float) -> Sequence[Hardware]:
    """The sizes that fit here: of CPU always, of GPU as many as `resources` has.

    `running` are the specs of what is awake: GPUs are set aside for them, CPUs are shared. `price` is in USD per hour
    for one GPU; where there is none, for one CPU.
    """
    gpus = int(resources.get("gpu", 0))
    used = math.ceil(sum(spec.needs().get("gpu", 0) for spec in running))
    cores = psutil.cpu_count() or 1
    on_cpus = [_cpu(size, cores, 0.0 if gpus else price) for size in _SIZES if size <= cores]
    return [*on_cpus, *(_gpu(size, gpus, used, price) for size in _sizes(gpus))]


def _sizes(gpus: int) -> list[int]:
    """The usual ones that fit, and all together."""
    return sorted({size for size in (*_SIZES, gpus) if 0 < size <= gpus})


def _cpu(size: int, cores: int, price: float) -> Hardware:
    return Hardware(
        id=f"{VENDOR}-{REGION}-{CPU_TYPE}-x{size}",
        vendor=VENDOR,
        region=REGION,
        region_label=platform.node() or "this machine",
        accelerator="cpu",
        instance_type=CPU_TYPE,
        instance_size=f"x{size}",
        architecture=platform.machine() or "unknown",
        num_accelerators=size,
        num_cpus=size,
        memory_gb=_memory_gb(size / cores),
        price_per_hour=price * size,
        max_accelerators=cores,
    )


def _gpu(size: int, gpus: int, used: int, price: float) -> Hardware:
    return Hardware(
        id=f"{VENDOR}-{REGION}-{GPU_TYPE}-x{size}",
        vendor=VENDOR,
        region=REGION,
        region_label=platform.node() or "this machine",
        accelerator="gpu",
        instance_type=GPU_TYPE,
        instance_size=f"x{size}",
        architecture="GPU",
        num_accelerators=size,
        num_cpus=psutil.cpu_count() or 1,
        memory_gb=_memory_gb(1.0),
        price_per_hour=price * size,
        max_accelerators=gpus,
        used_accelerators=used,
    )


def _memory_gb(share: float) -> float:
    return round(psutil.virtual_memory().total * share / 1e9, 1)
