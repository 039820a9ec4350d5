"""Which offers somebody wants, and in which order. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lamplighter.domain.money import Unit
from lamplighter.domain.offers import Offer, OfferKind
from lamplighter.domain.regions import GDPR, REGIONS
from lamplighter.domain.tasks import KINDS, TASKS, is_of
from lamplighter.errors import InvalidInput

SORTS = ("price", "throughput", "first-token", "context", "model", "provider")
"""What offers can be sorted by; what is not told comes last."""

_FAR = (1, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFilter:
    """What is wanted. None: anything.

    `model` is a whole name, `search` a part of one. `task` is one of the Hub's, or a kind: text, image, audio, ….
    `region` is a part of the world, a provider's region, or `gdpr`. `max_price` is in $ per million tokens out, or per
    hour of hardware, or per whatever else the offer charges for; what has no price is left out then, unless it is free.
    `context` is in tokens. `limit` bounds what is told.
    """

    model: str | None = None
    search: str | None = None
    task: str | None = None
    region: str | None = None
    provider: str | None = None
    kind: str | None = None
    max_price: Decimal | None = None
    context: int | None = None
    tools: bool | None = None
    sort: str = "price"
    limit: int | None = None

    def __post_init__(self) -> None:
        _check("kind", self.kind, [kind.value for kind in OfferKind])
        _check("sort", self.sort, SORTS)
        if self.max_price is not None and not (self.max_price.is_finite() and self.max_price >= 0):
            raise InvalidInput(f"max_price: {self.max_price} should be 0 or more, in dollars", field="max_price")
        for field, number in (("context", self.context), ("limit", self.limit)):
            if number is not None and number < 1:
                raise InvalidInput(f"{field}: {number} should be at least 1", field=field)


def chosen(offers: Sequence[Offer], wanted: OfferFilter, *, all_told: bool = True) -> list[Offer]:
    """Those that are wanted, sorted. Raises InvalidInput for a word that is unknown, and that nothing has either.

    Not `all_told`: somebody who was asked did not answer, and may know what nobody else does.
    """
    if all_told:
        _check("task", wanted.task, {*KINDS, *TASKS, *(offer.task for offer in offers if offer.task)})
        _check("region", wanted.region, {*REGIONS, GDPR, *(offer.region for offer in offers if offer.region)})
        if offers:
            _check("provider", wanted.provider, {offer.provider for offer in offers})
    found = (offer for offer in offers if all(holds(offer, wanted) for holds in _CONDITIONS))
    return _sorted(found, wanted.sort)[: wanted.limit]


def check_task(task: str) -> None:
    """Raises InvalidInput for a word that is neither a task of the Hub nor a kind."""
    _check("task", task, {*KINDS, *TASKS})


def _check(field: str, value: str | None, known: Iterable[str]) -> None:
    if value is None:
        return
    words = sorted(set(known))
    if value in words:
        return
    near = difflib.get_close_matches(value[:80], words, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(words[:40])}"
    shown = value if len(value) <= 80 else value[:79] + "…"
    raise InvalidInput(f"{field}: there is no {shown!r}; {hint}", field=field)


def _of_model(offer: Offer, wanted: OfferFilter) -> bool:
    return wanted.model is None or offer.model.lower() == wanted.model.lower() or offer.endpoint == wanted.model


def _found(offer: Offer, wanted: OfferFilter) -> bool:
    return wanted.search is None or wanted.search.lower() in offer.model.lower()


def _of_task(offer: Offer, wanted: OfferFilter) -> bool:
    return wanted.task is None or is_of(offer.task, wanted.task)


def _in_region(offer: Offer, wanted: OfferFilter) -> bool:
    region = wanted.region
    return region is None or offer.region == region or f"region={region}" in offer.tags or region in offer.tags


def _from_provider(offer: Offer, wanted: OfferFilter) -> bool:
    return wanted.provider is None or offer.provider == wanted.provider


def _of_kind(offer: Offer, wanted: OfferFilter) -> bool:
    return wanted.kind is None or offer.kind == wanted.kind


def _affordable(offer: Offer, wanted: OfferFilter) -> bool:
    if wanted.max_price is None or offer.is_free:
        return True
    quote = offer.main_quote
    return quote is not None and quote.amount <= wanted.max_price


def _large_enough(offer: Offer, wanted: OfferFilter) -> bool:
    return wanted.context is None or (offer.context is not None and offer.context >= wanted.context)


def _uses_tools(offer: Offer, wanted: OfferFilter) -> bool:
    return wanted.tools is None or offer.tools is wanted.tools


_CONDITIONS: Sequence[Callable[[Offer, OfferFilter], bool]] = (
    _of_model,
    _found,
    _of_task,
    _in_region,
    _from_provider,
    _of_kind,
    _affordable,
    _large_enough,
    _uses_tools,
)


def _sorted(offers: Iterable[Offer], sort: str) -> list[Offer]:
    """What can't be had now comes last, unless it is the names that sort."""
    key, by_name = _KEYS[sort], sort in _NAMES

    def place(offer: Offer) -> tuple[Any, ...]:
        return (not by_name and not offer.can_be_had, key(offer), offer.model, offer.provider, offer.hardware or "")

    return sorted(offers, key=place)


def _by_price(offer: Offer) -> tuple[int, Decimal]:
    """By the million tokens first, then by the hour and by whatever else: these can't be compared with each other."""
    if offer.is_free:
        return 0, Decimal(0)
    if (price := offer.price_per_million) is not None:
        return 0, price
    quote = offer.main_quote
    return (3, Decimal(0)) if quote is None else (1 if quote.unit is Unit.REPLICA_HOUR else 2, quote.amount)


def _most(value: float | None) -> tuple[int, float]:
    return _FAR if value is None else (0, -value)


def _speed(offer: Offer) -> float | None:
    measured = offer.measured.tokens_per_second if offer.measured is not None else None
    return measured if measured is not None else offer.throughput


_NAMES = frozenset({"model", "provider"})
_KEYS: dict[str, Callable[[Offer], Any]] = {
    "price": _by_price,
    "throughput": lambda offer: _most(_speed(offer)),
    "first-token": lambda offer: _FAR if offer.first_token is None else (0, offer.first_token),
    "context": lambda offer: _most(offer.context),
    "model": lambda offer: offer.model.lower(),
    "provider": lambda offer: offer.provider,
}
