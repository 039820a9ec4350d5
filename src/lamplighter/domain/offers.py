"""Models, and what they can be had for: by the token from somebody who serves them, by the hour on hardware. Pure.

Prices are `Quote`s, each with its unit, source and time; nothing is made up where none was told. What an hour of
hardware comes to per token is only said from a throughput that was measured.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal

from lamplighter.domain.hardware import Hardware
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import Listing, judged, told_of_hardware
from lamplighter.domain.regions import region_tags
from lamplighter.domain.tasks import modality_of

OVERHEAD = 1.2
"""Memory beyond the weights, for the cache and what is computed: a fifth, as Hugging Face's own estimate adds
(huggingface.co/docs/accelerate, `estimate-memory`). Long contexts and many requests at once take more."""

ASSUMED_BYTES = 2.0
"""Bytes per parameter where nobody told the precision: 16 bits, as most models are published."""

LEAST_MEASURED = 100
"""Tokens that must have been answered before a throughput counts as measured."""

_BYTES = {
    "F64": 8.0, "I64": 8.0, "U64": 8.0,
    "F32": 4.0, "I32": 4.0, "U32": 4.0,
    "F16": 2.0, "BF16": 2.0, "I16": 2.0, "U16": 2.0,
    "F8_E4M3": 1.0, "F8_E5M2": 1.0, "F8_E8M0": 1.0, "F8": 1.0, "I8": 1.0, "U8": 1.0, "BOOL": 1.0,
    "F6": 0.75, "F4": 0.5, "I4": 0.5, "U4": 0.5,
}  # fmt: skip
"""By the words of safetensors (github.com/huggingface/safetensors)."""

_BROKEN = "error"
_UNUSABLE = frozenset({"deprecated", "not_available"})
_GIGA = 1e9
_NANO = Decimal("0.000000001")
_IN_HOUR = 3600
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBy:
    """Somebody who serves a model. None, or empty: not told.

    `status` is `live`, `staging` or `error`. `name` is what they call the model. `throughput` is in tokens a second and
    `first_token` in seconds, both from the last probe of whoever lists it. `is_free` is a promotion of theirs.
    """

    provider: str
    status: str = ""
    task: str | None = None
    name: str | None = None
    context: int | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    throughput: float | None = None
    first_token: float | None = None
    is_free: bool = False
    is_author: bool = False
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A model as a catalogue tells of it. None: not told.

    `precision` is how many parameters there are of each number format, in the words of safetensors (`BF16`).
    `downloads` counts those of the last month. `gated` says that its owner has to let one in. `source` is the key of
    the marketplace that lists it.
    """

    id: str
    task: str | None = None
    modality: str | None = None
    license: str | None = None
    downloads: int | None = None
    likes: int | None = None
    parameters: int | None = None
    precision: Mapping[str, int] = field(default_factory=dict)
    context: int | None = None
    gated: bool = False
    providers: tuple[ServedBy, ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareFit:
    """Whether a model's weights fit into a machine's memory: an estimate. `fits` None: it can't be told.

    `needed_gb` and `available_gb` are in GB (10⁹ bytes); `formula` says how it was reckoned, or what is not known.
    """

    fits: bool | None
    needed_gb: float | None
    available_gb: float | None
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What was measured: so many tokens answered in so many seconds of answering; `source` says where, and how.

    `first_token` is the mean time to the first byte of answers that came in pieces (seconds); None: there were none.
    """

    tokens: int
    seconds: float
    source: str
    first_token: float | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """None where too little was answered to say."""
        return self.tokens / self.seconds if self.tokens >= LEAST_MEASURED and self.seconds > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCost:
    """What use of an endpoint has cost here: all `dollars` that were charged, over what was answered.

    Starts and idling are in it, so that it falls as an endpoint is used more. `source` says since when.
    """

    dollars: Decimal
    requests: int
    tokens_in: int
    tokens_out: int
    source: str

    @property
    def per_million_tokens(self) -> Decimal | None:
        """$ per million tokens, in and out together; None where too few were told to say."""
        tokens = self.tokens_in + self.tokens_out
        return (self.dollars * _MILLION / tokens).quantize(_NANO) if tokens >= LEAST_MEASURED else None

    @property
    def per_request(self) -> Decimal | None:
        """$ per request: for a model of images that is per image, where each request asks for one."""
        return (self.dollars / self.requests).quantize(_NANO) if self.requests else None


class OfferKind(enum.StrEnum):
    """How one pays: for what one uses of a model that somebody serves, or for each hour of hardware that runs it."""

    SERVERLESS = "serverless"
    HARDWARE = "hardware"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model, from somebody, at a price. None, or empty: not told.

    `source` says who told of it: a marketplace's key, `router`, or `configuration`. `endpoint` is the name under which
    this server has it. `throughput` (tokens a second) and `first_token` (seconds) are quoted, `measured` is one's own.
    `cold_start` is how long starts took here (seconds). `tags` hold `region=…` and `gdpr`. `others` are what other
    sources say of the same prices: those of `quotes` count. `accelerator` is the hardware's (`cpu`: none). `cost` is
    what use of it has cost here.
    """

    model: str
    provider: str
    kind: OfferKind
    source: str
    quotes: tuple[Quote, ...] = ()
    status: str = ""
    is_free: bool = False
    endpoint: str | None = None
    region: str = ""
    tags: tuple[str, ...] = ()
    task: str | None = None
    context: int | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    throughput: float | None = None
    first_token: float | None = None
    measured: Throughput | None = None
    cold_start: float | None = None
    hardware: str | None = None
    accelerator: str | None = None
    fit: HardwareFit | None = None
    others: tuple[Quote, ...] = ()
    cost: MeasuredCost | None = None

    @property
    def can_be_had(self) -> bool:
        """Whether it works at present, as far as is told: a provider that is live, hardware that is left."""
        if self.endpoint is not None:
            return self.status != _BROKEN
        if self.kind is OfferKind.SERVERLESS:
            return self.status in {"", "live"}
        return self.status not in _UNUSABLE

    @property
    def disagrees(self) -> bool:
        """Whether another source names another amount for the same."""
        counts = {quote.unit: quote.amount for quote in reversed(self.quotes)}
        return any(counts.get(other.unit, other.amount) != other.amount for other in self.others)

    @property
    def cost_basis(self) -> str:
        """Where `cost` comes from, or why there is none."""
        if self.cost is not None:
            return self.cost.source
        if self.endpoint is None:
            return "not measured: this server has not got it"
        if self.kind is OfferKind.SERVERLESS:
            return "not measured: it is paid by use, at the price that is quoted"
        return "not measured: nothing was answered for a known price"

    @property
    def modality(self) -> str | None:
        """What the model works on, in one word."""
        return modality_of(self.task)

    def quote(self, unit: Unit) -> Quote | None:
        """The quote for a unit."""
        return next((quote for quote in self.quotes if quote.unit is unit), None)

    @property
    def main_quote(self) -> Quote | None:
        """The quote that offers of this kind are compared by: per million tokens out, else per whatever it is."""
        return next((quote for unit in _COMPARED for quote in self.quotes if quote.unit is unit), None)

    @property
    def price_per_million(self) -> Decimal | None:
        """$ per million tokens out: quoted, or an hour's price over the tokens measured to come in one."""
        if (quote := self.quote(Unit.MILLION_TOKENS_OUT)) is not None:
            return quote.amount
        hourly, measured = self.quote(Unit.REPLICA_HOUR), self.measured
        speed = measured.tokens_per_second if measured is not None else None
        return per_million(hourly.amount, speed) if hourly is not None and speed is not None else None

    @property
    def price_basis(self) -> str:
        """Where `price_per_million` comes from, or why there is none."""
        if (quote := self.quote(Unit.MILLION_TOKENS_OUT)) is not None:
            return f"quoted by {quote.source}"
        if self.quote(Unit.REPLICA_HOUR) is None:
            return "no price was told"
        if self.measured is None or self.measured.tokens_per_second is None:
            return "not measured"
        return f"price per hour over what was measured ({self.measured.source})"


_COMPARED = (
    Unit.MILLION_TOKENS_OUT,
    Unit.REPLICA_HOUR,
    Unit.IMAGE,
    Unit.AUDIO_MINUTE,
    Unit.REQUEST,
    Unit.MILLION_TOKENS_IN,
)


def per_million(per_hour: Decimal, tokens_per_second: float) -> Decimal:
    """What a million tokens cost on hardware at `per_hour` ($) that answers so many a second without a break."""
    per_token = per_hour / (Decimal(repr(tokens_per_second)) * _IN_HOUR)
    return (per_token * _MILLION).quantize(_NANO, ROUND_HALF_EVEN)


def weights_gb(model: ModelRecord) -> tuple[float, str] | None:
    """How large the weights are (GB), and how that is reckoned; None where the size is not told."""
    if model.precision:
        sized = {name: count for name, count in model.precision.items() if count > 0}
        gigabytes = sum(count * _BYTES.get(name.upper(), ASSUMED_BYTES) for name, count in sized.items()) / _GIGA
        return gigabytes, " + ".join(_reckoned(name, count) for name, count in sized.items())
    if model.parameters:
        return (
            model.parameters * ASSUMED_BYTES / _GIGA,
            f"{_billions(model.parameters)} x {ASSUMED_BYTES:g} B (assumed)",
        )
    return None


def _reckoned(name: str, count: int) -> str:
    known = _BYTES.get(name.upper())
    return (
        f"{_billions(count)} x {known:g} B ({name})" if known else f"{_billions(count)} x {ASSUMED_BYTES:g} B (assumed)"
    )


def _billions(count: int) -> str:
    for least, word in ((1e9, "billion"), (1e6, "million")):
        if count >= least:
            return f"{count / least:.3g} {word}"
    return str(count)


def fit(model: ModelRecord, hardware: Hardware) -> HardwareFit:
    """Estimate whether the weights, and a fifth for the rest, fit into the memory of one replica.

    That is the GPU memory of the whole instance; the machine's where there is no accelerator.
    """
    is_cpu = hardware.accelerator == "cpu"
    available = hardware.memory_gb if is_cpu else hardware.gpu_memory_gb
    memory = "memory" if is_cpu else "GPU memory"
    weights = weights_gb(model)
    if weights is None:
        return HardwareFit(fits=None, needed_gb=None, available_gb=available, formula="the model's size is not told")
    needed = weights[0] * OVERHEAD
    reckoned = f"({weights[1]}) x {OVERHEAD:g} = {needed:.1f} GB"
    if available is None:
        formula = f"{reckoned}; the hardware's {memory} is not told"
        return HardwareFit(fits=None, needed_gb=needed, available_gb=None, formula=formula)
    formula = f"estimate: {reckoned} of {available:g} GB {memory}"
    return HardwareFit(fits=needed <= available, needed_gb=needed, available_gb=available, formula=formula)


def subject_of(provider: str, model: str) -> str:
    """What the quotes of a served model are about."""
    return f"{provider}/{model}"


def serverless_offers(models: Iterable[ModelRecord], quotes: Iterable[Quote], *, source: str) -> list[Offer]:
    """Every model from everybody who serves it, with the quotes that are about that."""
    by_subject = _by_subject(quotes)
    return [_serverless(model, served, by_subject, source) for model in models for served in model.providers]


def _serverless(model: ModelRecord, served: ServedBy, quotes: Mapping[str, tuple[Quote, ...]], source: str) -> Offer:
    about = quotes.get(subject_of(served.provider, model.id), ())
    found = tuple(quote for quote in about if quote.amount > 0 or served.is_free)  # nothing is no price by itself
    region = served.region or next((quote.region for quote in found if quote.region), "")
    return Offer(
        model=model.id,
        provider=served.provider,
        kind=OfferKind.SERVERLESS,
        source=source,
        quotes=found,
        status=served.status,
        is_free=served.is_free,
        region=region,
        tags=region_tags(region),
        task=served.task or model.task,
        context=served.context or model.context,
        tools=served.tools,
        structured_output=served.structured_output,
        throughput=served.throughput,
        first_token=served.first_token,
    )


def hardware_offers(
    model: ModelRecord, hardware: Iterable[Hardware], quotes: Iterable[Quote], *, provider: str, all_sizes: bool = False
) -> list[Offer]:
    """A model on each hardware that it fits on, and where that can't be told; what can't be had at all is left out.

    `all_sizes`: also what it does not fit on, which its `fit` says.
    """
    by_subject = _by_subject(quotes)
    fits = ((one, fit(model, one)) for one in hardware if one.status not in _UNUSABLE)
    return [
        Offer(
            model=model.id,
            provider=provider,
            kind=OfferKind.HARDWARE,
            source=provider,
            quotes=by_subject.get(one.id, ()),
            status=one.status,
            region=one.region,
            tags=region_tags(one.region),
            task=model.task,
            context=model.context,
            hardware=one.id,
            accelerator=one.accelerator,
            fit=judged,
        )
        for one, judged in fits
        if all_sizes or judged.fits is not False
    ]


def hardware_quotes(hardware: Iterable[Hardware], *, source: str, at: float) -> list[Quote]:
    """What hardware costs an hour, as its listing said at the Unix time `at`. A price that can't be is no quote.

    Where the listing names another source of its price, and how old that is, the quote says the same.
    """
    told = ((one, told_of_hardware(one)) for one in hardware)
    found = (
        (one, judged(price, one.price_source or source, at - (one.price_age or 0.0), None))
        for one, price in told
        if price is not None
    )
    return [replace(listing.quote, subject=one.id) for one, listing in found if isinstance(listing, Listing)]


def _by_subject(quotes: Iterable[Quote]) -> dict[str, tuple[Quote, ...]]:
    """The quotes about each thing, the newest first."""
    found: dict[str, list[Quote]] = {}
    for quote in sorted(quotes, key=lambda quote: -quote.at):
        found.setdefault(quote.subject, []).append(quote)
    return {subject: tuple(about) for subject, about in found.items()}


def providers_of(offers: Sequence[Offer]) -> list[str]:
    """Everybody who offers something, by name."""
    return sorted({offer.provider for offer in offers})
