"""What an endpoint can be deployed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One size of one instance type in one region, with what it costs and how much of it is left to this namespace.

    The words are those of Hugging Face's hardware route. `price_per_hour` is in USD per replica, None where nobody
    told a price. `status` is `available`, `low_availability`, `not_available`, `reserved` or `deprecated`. Memory is
    in GB.

    `price` is the same as it was told, exactly: a number, or a text that is none; None where only `price_per_hour` is
    known. It is for `price_unit`, in `price_currency`. `price_source` says who told it (empty: whoever listed the
    hardware), `price_age` how many seconds ago that was found to hold.
    """

    id: str
    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str
    architecture: str
    status: str = "available"
    num_accelerators: int = 1
    num_cpus: int | None = None
    memory_gb: float | None = None
    gpu_memory_gb: float | None = None
    price_per_hour: float | None = None
    max_accelerators: int = 0
    used_accelerators: int = 0
    region_label: str = ""
    price: Decimal | str | None = field(default=None, compare=False)
    price_currency: str = field(default="USD", compare=False)
    price_unit: str = field(default="hour", compare=False)
    price_source: str = ""
    price_age: float | None = None

    @property
    def deployable(self) -> bool:
        """Whether a replica can be had now: a usable status, and enough quota."""
        usable = self.status not in {"deprecated", "not_available"}
        return usable and self.max_accelerators - self.used_accelerators >= self.num_accelerators
