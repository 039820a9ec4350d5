"""What the routes of the marketplace answer. What stands under each field is its description in the OpenAPI document.

The names are those of `lamplighter.domain.offers`. Amounts are in US dollars, moments Unix seconds, durations seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from lamplighter.control.kept import Told
from lamplighter.control.market import MarketSource, Offers
from lamplighter.domain.keys import Role
from lamplighter.domain.model_filter import ModelPage
from lamplighter.domain.money import Quote
from lamplighter.domain.offers import HardwareFit, MeasuredCost, ModelRecord, Offer, ServedBy, Throughput
from lamplighter.domain.prices import money

AgeOf: TypeAlias = Callable[[Quote], float | None]
"""How many seconds ago a quote was last found to hold; None: not told."""


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)


class ServedByShape(_Wire):
    """Somebody who serves a model. Null: not told."""

    provider: str
    """Who."""
    status: str
    """`live`, `staging` or `error`; empty where that was not told."""
    task: str | None
    """What they serve it for."""
    name: str | None
    """What they call it."""
    context: int | None
    """How many tokens a request and its answer may have together."""
    tools: bool | None
    """Whether it can use tools there."""
    structured_output: bool | None
    """Whether it can answer by a JSON schema there."""
    throughput: float | None
    """Tokens a second, by the last probe of whoever lists it."""
    first_token: float | None
    """Seconds to the first token, by the same."""
    is_free: bool
    """Whether they ask nothing for it, for a time."""
    is_author: bool
    """Whether it is their own model."""
    region: str
    """Where they serve it; empty where that was not told."""


class ModelShape(_Wire):
    """A model as a catalogue tells of it. Null: not told."""

    id: str
    """Its name."""
    task: str | None
    """What it does, in the Hub's words."""
    modality: str | None
    """The same in one word: text, image, audio, video, multimodal, embedding, tabular, other."""
    license: str | None
    """Under which licence it is."""
    downloads: int | None
    """How often it was fetched in the last month."""
    likes: int | None
    """How many people liked it."""
    parameters: int | None
    """How many parameters it has."""
    precision: dict[str, int]
    """How many of them there are of each number format."""
    context: int | None
    """How many tokens a request and its answer may have together."""
    gated: bool
    """Whether its owner has to let one in."""
    providers: list[ServedByShape]
    """Who serves it."""
    tags: list[str]
    """What else its card says, in single words."""
    source: str
    """The marketplace that lists it."""

    @classmethod
    def of(cls, model: ModelRecord) -> ModelShape:
        """Describe a model."""
        return cls.model_validate(
            {
                **{name: getattr(model, name) for name in cls.model_fields},
                "precision": dict(model.precision),
                "providers": [_served(one) for one in model.providers],
                "tags": list(model.tags),
            }
        )


def _served(one: ServedBy) -> ServedByShape:
    return ServedByShape.model_validate(one)


class ModelsShape(_Wire):
    """A page of models."""

    success: Literal[True] = True
    """Always true here."""
    models: list[ModelShape]
    """Those that are wanted."""
    next: str | None
    """The `cursor` of the next page; null on the last one."""
    at: float
    """When this was told."""
    age: float
    """How long ago that was."""
    trouble: str | None
    """Why nothing newer is known; null where this is as new as it should be."""

    @classmethod
    def of(cls, told: Told[ModelPage]) -> ModelsShape:
        """Describe a page."""
        models = [ModelShape.of(model) for model in told.value.models]
        return cls(models=models, next=told.value.next, at=told.at, age=told.age, trouble=told.trouble)


class QuoteShape(_Wire):
    """What somebody said that something costs."""

    subject: str
    """What is priced."""
    unit: str
    """For what: replica_hour, million_tokens_in, million_tokens_out, image, request, audio_minute."""
    amount: str
    """How much, in `currency`, as an exact decimal."""
    currency: str
    """USD."""
    source: str
    """Who said so."""
    at: float
    """When."""
    region: str
    """For which region; empty where that was not told."""
    age: float | None
    """How many seconds ago it was last found to hold; null where that is told beside it."""

    @classmethod
    def of(cls, quote: Quote, *, age: float | None = None) -> QuoteShape:
        """Describe a quote."""
        values = {name: getattr(quote, name) for name in cls.model_fields}
        return cls.model_validate(values | {"amount": money(quote.amount), "unit": quote.unit.value, "age": age})


class FitShape(_Wire):
    """Whether a model's weights fit into a machine's memory: an estimate."""

    fits: bool | None
    """Null: it can't be told."""
    needed_gb: float | None
    """What they need."""
    available_gb: float | None
    """What there is."""
    formula: str
    """How that was reckoned, or what is not known."""

    @classmethod
    def of(cls, fit: HardwareFit) -> FitShape:
        """Describe an estimate."""
        return cls.model_validate(fit)


class ThroughputShape(_Wire):
    """What was measured here."""

    tokens: int
    """Tokens that were answered."""
    seconds: float
    """In so many seconds of answering."""
    tokens_per_second: float | None
    """The one by the other; null where too little was answered to say."""
    source: str
    """Where and how that was measured."""
    first_token: float | None
    """Mean seconds to the first byte of answers that came in pieces; null where none did."""

    @classmethod
    def of(cls, measured: Throughput) -> ThroughputShape:
        """Describe what was measured."""
        return cls.model_validate(measured)


class MeasuredCostShape(_Wire):
    """What use of an endpoint has cost here, with starts and idling."""

    dollars: str
    """All that was charged, as an exact decimal."""
    requests: int
    """For so many requests."""
    tokens_in: int
    """With so many tokens in."""
    tokens_out: int
    """And so many out."""
    per_million_tokens: str | None
    """$ per million tokens, in and out together; null where too few were told to say."""
    per_request: str | None
    """$ per request."""
    source: str
    """Since when, and what is not in it."""

    @classmethod
    def of(cls, cost: MeasuredCost) -> MeasuredCostShape:
        """Describe what use has cost."""
        tokens, request = cost.per_million_tokens, cost.per_request
        return cls.model_validate(
            {
                **{name: getattr(cost, name) for name in cls.model_fields},
                "dollars": money(cost.dollars),
                "per_million_tokens": None if tokens is None else money(tokens),
                "per_request": None if request is None else money(request),
            }
        )


_COSTS_HIDDEN = f"told to keys with the role {Role.OPERATE.value}"


class OfferShape(_Wire):
    """A model, from somebody, at a price. Null, or empty: not told."""

    model: str
    """The model."""
    provider: str
    """Who has it."""
    kind: Literal["serverless", "hardware"]
    """Paid for what one uses of it, or for each hour of the hardware that it runs on."""
    source: str
    """Who told of it: a marketplace, `here` for an endpoint of this server, or `configuration`."""
    quotes: list[QuoteShape]
    """What it costs: the prices that count."""
    others: list[QuoteShape]
    """What other sources say of the same."""
    disagrees: bool
    """Whether any of them names another amount."""
    status: str
    """How it is: `live` or `error`, the hardware's status, or the phase of an endpoint."""
    is_free: bool
    """Whether nothing is asked for it, for a time."""
    endpoint: str | None
    """Its name in this server: an endpoint's or an upstream's."""
    region: str
    """Where, in the provider's word."""
    tags: list[str]
    """`region=…` with the part of the world, and `gdpr` in the European Economic Area."""
    task: str | None
    """What it does, in the Hub's words."""
    modality: str | None
    """The same in one word."""
    context: int | None
    """How many tokens a request and its answer may have together."""
    tools: bool | None
    """Whether it can use tools."""
    structured_output: bool | None
    """Whether it can answer by a JSON schema."""
    throughput: float | None
    """Tokens a second, as quoted."""
    first_token: float | None
    """Seconds to the first token, as quoted."""
    measured: ThroughputShape | None
    """What was measured here."""
    cold_start: float | None
    """How long it takes to start, by earlier starts here."""
    hardware: str | None
    """The hardware it runs on, by its id."""
    fit: FitShape | None
    """Whether it fits on that."""
    cost: MeasuredCostShape | None
    """What use of it has cost here."""
    cost_basis: str
    """Where `cost` comes from, or why there is none."""
    price_per_million: str | None
    """$ per million tokens out, as an exact decimal: quoted, or an hour's price over what was measured."""
    price_basis: str
    """Where `price_per_million` comes from, or why there is none: `not measured`, `no price was told`."""

    @classmethod
    def of(cls, offer: Offer, *, costs: bool = True, age: AgeOf = lambda _: None) -> OfferShape:
        """Describe an offer."""
        price = offer.price_per_million
        return cls.model_validate(
            {
                **{name: getattr(offer, name) for name in cls.model_fields},
                "kind": offer.kind.value,
                "quotes": [QuoteShape.of(quote, age=age(quote)) for quote in offer.quotes],
                "others": [QuoteShape.of(quote, age=age(quote)) for quote in offer.others],
                "cost": MeasuredCostShape.of(offer.cost) if offer.cost is not None and costs else None,
                "cost_basis": offer.cost_basis if costs else _COSTS_HIDDEN,
                "tags": list(offer.tags),
                "measured": ThroughputShape.of(offer.measured) if offer.measured is not None else None,
                "fit": FitShape.of(offer.fit) if offer.fit is not None else None,
                "price_per_million": money(price) if price is not None else None,
            }
        )


class SourceShape(_Wire):
    """Who was asked for offers."""

    name: str
    """A marketplace, or `here` for this server."""
    at: float | None
    """When it told what is shown; null where it told nothing."""
    age: float | None
    """How long ago that was."""
    trouble: str | None
    """Why it told nothing, or nothing newer."""

    @classmethod
    def of(cls, source: MarketSource) -> SourceShape:
        """Describe a source."""
        return cls.model_validate(source)


class OffersShape(_Wire):
    """Offers, sorted."""

    success: Literal[True] = True
    """Always true here."""
    offers: list[OfferShape]
    """This page of those that are wanted."""
    total: int
    """How many are wanted in all."""
    next: int | None
    """The `offset` of the next page; null on the last one."""
    sources: list[SourceShape]
    """Who was asked; one that told nothing takes nothing away from the others."""

    @classmethod
    def of(
        cls, found: Offers, *, offset: int, limit: int, costs: bool = True, age: AgeOf = lambda _: None
    ) -> OffersShape:
        """Describe a page of offers; without `costs` what use of them has cost is left out."""
        page: Sequence[Offer] = found.offers[offset : offset + limit]
        end, total = offset + len(page), len(found.offers)
        return cls(
            offers=[OfferShape.of(offer, costs=costs, age=age) for offer in page],
            total=total,
            next=end if page and end < total else None,
            sources=[SourceShape.of(source) for source in found.sources],
        )
