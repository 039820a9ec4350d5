"""Everything that can be had: the models of all marketplaces, and the offers of these and of this server itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol

from lamplighter.control.clock import Clock
from lamplighter.control.kept import Kept, Told
from lamplighter.control.stock import Measured
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.inference import InferenceAnswer, InferenceRequest
from lamplighter.domain.model_filter import ModelFilter, ModelPage
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.offer_choice import OfferFilter, check_task, chosen
from lamplighter.domain.offers import (
    ModelRecord,
    Offer,
    OfferKind,
    hardware_offers,
    hardware_quotes,
    serverless_offers,
)
from lamplighter.domain.prices import CONFIGURATION, why_not_believed
from lamplighter.domain.regions import region_tags
from lamplighter.domain.routing import TokenPrice, Upstream
from lamplighter.errors import InvalidInput, LamplighterError, ModelNotFound, ProviderTimeout
from lamplighter.providers.guarded import Guarded
from lamplighter.providers.market import Marketplace

HERE = "here"
"""Who tells of the offers of this server's own endpoints and upstreams."""

HARDWARE = "hardware"
"""Who tells what endpoints can be made on."""

PRICES_AGE = 300.0
"""How long what marketplaces tell of their offers is taken for true (seconds)."""

_MOST_PAGES_KEPT = 200
_MOST_MODELS_KEPT = 500
_MOST_SIFTED = 5
_MOST_OFFERED = 5000
"""Models of one marketplace that are taken as offers."""

_SEPARATOR = "~"

HardwareSource = Callable[[], Awaitable[Sequence[tuple[str, Hardware]]]]
"""What endpoints can be made on, each with the key of the provider that has it."""


class OwnPrices(Protocol):
    """Who knows what is said of prices: the price book does. Of each unit the quote that counts comes first."""

    def told_of_endpoint(self, endpoint: Endpoint) -> Sequence[Quote]:
        """What an hour of one replica costs."""

    def told_of_upstream(self, upstream: Upstream, model: str | None) -> Sequence[Quote]:
        """What an upstream charges for what it calls so; None: for its own model."""

    def told_of_model(self, subject: str, unit: Unit) -> Sequence[Quote]:
        """What somebody charges for a model: `subject` is what his quotes are about."""

    def told_of_hardware(self, provider: str, place: tuple[str, str, str, str]) -> Sequence[Quote]:
        """What an hour of one replica costs: on vendor, region, instance type and size."""

    def age(self, quote: Quote) -> float:
        """How many seconds ago a quote was last found to hold."""


class OwnModels(Protocol):
    """What this server itself has."""

    def endpoints(self) -> Sequence[Endpoint]:
        """Its endpoints as they are now."""

    def upstreams(self) -> Sequence[Upstream]:
        """The model APIs of its configuration."""

    async def measured(self) -> Mapping[str, Measured]:
        """What was measured of endpoints and upstreams, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSource:
    """Who told of offers, when (Unix time), and how many seconds ago. `trouble`: why nothing, or nothing newer."""

    name: str
    at: float | None = None
    age: float | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """The offers that are wanted, and who was asked."""

    offers: Sequence[Offer]
    sources: Sequence[MarketSource] = field(default_factory=tuple)


class Market:
    """Asks all marketplaces, and remembers what they told. A marketplace that fails takes nothing away from the others.

    `markets` are by their keys. `own` is this server; None where there is none. `prices` tells what its
    models cost; where it knows nothing, the hardware's listing does.
    """

    def __init__(
        self,
        markets: Mapping[str, Marketplace],
        clock: Clock,
        *,
        own: OwnModels | None = None,
        hardware: HardwareSource | None = None,
        prices: OwnPrices | None = None,
    ) -> None:
        self._markets = {key: Guarded(key, market) for key, market in markets.items()}
        self._clock = clock
        self._own = own
        self._hardware = hardware
        self._prices = prices
        self._pages = Kept[ModelPage](clock, most=_MOST_PAGES_KEPT)
        self._models = Kept[ModelRecord](clock, most=_MOST_MODELS_KEPT)
        self._served = Kept[Sequence[Offer]](clock, most=max(1, len(markets)), fresh=PRICES_AGE)

    @property
    def keys(self) -> Sequence[str]:
        """The marketplaces."""
        return tuple(self._markets)

    # Models.

    async def models(self, wanted: ModelFilter, *, market: str | None = None) -> Told[ModelPage]:
        """A page of models: of one marketplace, or of all, one after the other.

        Its cursor leads on, from one to the next, too. Raises InvalidInput for a marketplace that is unknown, or a
        cursor that no page told; ModelNotFound; and what the marketplace raises.
        """
        keys = [self._known(market)] if market is not None else list(self._markets)
        if wanted.id is not None:
            one = await self._model(wanted.id, keys)
            return Told(ModelPage(models=(one.value,)), one.at, one.age, one.trouble)
        if not keys:
            return Told(ModelPage(models=()), self._clock.wall(), 0.0)
        key, cursor = self._place(wanted.cursor, keys)
        mine = replace(wanted, cursor=cursor)
        page = await self._pages.get((key, mine), lambda: _first_page(self._markets[key], mine))
        if not page.value.models and wanted.task is not None:
            check_task(wanted.task)  # nobody says of a task that there is none: they list nothing
        onward = self._onward(key, page.value.next, keys)
        return Told(ModelPage(models=page.value.models, next=onward), page.at, page.age, page.trouble)

    def _known(self, market: str) -> str:
        if market not in self._markets:
            known = ", ".join(self._markets) or "none"
            raise InvalidInput(f"market: there is no {market[:80]!r}; known are {known}", field="market")
        return market

    def _place(self, cursor: str | None, keys: Sequence[str]) -> tuple[str, str | None]:
        """Which marketplace a cursor is at, and its own cursor there."""
        if cursor is None:
            return keys[0], None
        key, separator, inner = cursor.partition(_SEPARATOR)
        if not separator or key not in keys:
            raise InvalidInput("cursor: this is none that a page told; leave it out to begin anew", field="cursor")
        return key, inner or None

    def _onward(self, key: str, inner: str | None, keys: Sequence[str]) -> str | None:
        if inner is not None:
            return f"{key}{_SEPARATOR}{inner}"
        after = keys[keys.index(key) + 1 :]
        return f"{after[0]}{_SEPARATOR}" if after else None

    async def _model(self, name: str, keys: Sequence[str]) -> Told[ModelRecord]:
        """A model from the first marketplace that has it. Raises ModelNotFound, or what kept one from telling."""
        failed: LamplighterError | None = None
        for key in keys:
            try:
                return await self._models.get((key, name), lambda key=key: _one_model(self._markets[key], name))  # type: ignore[misc]
            except ModelNotFound as error:
                failed = failed or error
            except LamplighterError as error:
                failed = error if failed is None or isinstance(failed, ModelNotFound) else failed
        raise failed or ModelNotFound(f"No marketplace has a model {name!r}.", model=name)

    # Offers.

    async def offers(self, wanted: OfferFilter, *, all_sizes: bool = False) -> Offers:
        """Everything on offer that is wanted, sorted, with who told of it. Raises InvalidInput.

        With `wanted.model`, each hardware that the model fits on is an offer, too; with `all_sizes` each other one.
        """
        if wanted.model is not None and not wanted.model.strip():
            raise InvalidInput("model: '' is no name of a model, such as Qwen/Qwen3-8B", field="model")
        needed = self._own is not None or wanted.model is not None
        hardware, trouble = await self._all_hardware() if needed else ((), None)
        found, sources = list[Offer](), list[MarketSource]()
        if self._own is not None:
            measured, missing = await self._measured(self._own)
            found += self._own_offers(self._own, [one for _, one in hardware], measured)
            sources.append(MarketSource(name=HERE, at=self._clock.wall(), age=0.0, trouble=missing))
        if trouble is not None:
            sources.append(MarketSource(name=HARDWARE, trouble=trouble))
        asked = await asyncio.gather(*(self._offers_at(key) for key in self._markets))
        for offers, source in asked:
            found += offers
            sources.append(source)
        if wanted.model is not None and wanted.kind in {None, OfferKind.HARDWARE}:
            fitting, failed = await self._on_hardware(wanted.model, hardware, all_sizes=all_sizes)
            found += fitting
            sources += [failed] if failed is not None else []
        all_told = not any(source.trouble for source in sources)
        return Offers(offers=chosen(found, wanted, all_told=all_told), sources=tuple(sources))

    def age(self, quote: Quote) -> float:
        """How many seconds ago a quote was last found to hold."""
        if self._prices is not None and quote.source != HERE:
            return self._prices.age(quote)
        return max(0.0, self._clock.wall() - quote.at)

    @staticmethod
    async def _measured(own: OwnModels) -> tuple[Mapping[str, Measured], str | None]:
        """What was measured, or why that can't be told: the offers are of use without it."""
        try:
            return await own.measured(), None
        except LamplighterError as error:
            return {}, f"what was measured is missing: {error.message}"

    async def _all_hardware(self) -> tuple[Sequence[tuple[str, Hardware]], str | None]:
        """What there is, or why that is not known: the other offers are of use without it."""
        try:
            return (await self._hardware() if self._hardware is not None else ()), None
        except LamplighterError as error:
            return (), error.message

    async def _offers_at(self, key: str) -> tuple[Sequence[Offer], MarketSource]:
        try:
            told = await self._served.get(key, lambda: _offers_of(key, self._markets[key]))
        except LamplighterError as error:
            return (), MarketSource(name=key, trouble=error.message)
        offers = [self._with_others(offer) for offer in told.value]
        return offers, MarketSource(name=key, at=told.at, age=told.age, trouble=told.trouble)

    def _with_others(self, offer: Offer) -> Offer:
        """An offer of a marketplace with what the book's other sources say of the same.

        A price that the book does not believe, by the last good one of the same source, is not believed here either.
        """
        if self._prices is None or not offer.quotes:
            return offer
        quotes, others = list[Quote](), list[Quote]()
        for quote in offer.quotes:
            known = self._prices.told_of_model(quote.subject, quote.unit)
            same = next((one for one in known if one.source == quote.source), None)
            quotes.append(quote if same is None or why_not_believed(quote, same.amount) is None else same)
            others += [one for one in known if one.source != quote.source]
        return replace(offer, quotes=tuple(quotes), others=tuple(others))

    async def _on_hardware(
        self, name: str, hardware: Sequence[tuple[str, Hardware]], *, all_sizes: bool
    ) -> tuple[Sequence[Offer], MarketSource | None]:
        """What the model can be made on. One that no marketplace knows may still be served: that is no failure."""
        if not hardware:
            return (), None
        try:
            model = (await self._model(name, list(self._markets))).value
        except ModelNotFound:
            return (), None
        except LamplighterError as error:
            return (), MarketSource(name=f"the size of {name}", trouble=error.message)
        at, by_provider = self._clock.wall(), dict[str, list[Hardware]]()
        for provider, one in hardware:
            by_provider.setdefault(provider, []).append(one)
        offers: list[Offer] = []
        for provider, listed in by_provider.items():
            told = {one.id: self._told_of(provider, one, at) for one in listed}
            quotes = [quotes[0] for quotes in told.values() if quotes]
            found = hardware_offers(model, listed, quotes, provider=provider, all_sizes=all_sizes)
            offers += [replace(offer, others=tuple(told[offer.hardware or ""][1:])) for offer in found]
        return offers, None

    def _told_of(self, provider: str, one: Hardware, at: float) -> Sequence[Quote]:
        """What is said of an hour of hardware, first what counts: as the book says, else the hardware's listing."""
        place = (one.vendor, one.region, one.instance_type, one.instance_size)
        known = self._prices.told_of_hardware(provider, place) if self._prices is not None else ()
        if known:
            return [replace(quote, subject=one.id) for quote in known]
        return hardware_quotes([one], source=provider, at=at)

    def _own_offers(
        self, own: OwnModels, hardware: Sequence[Hardware], measured: Mapping[str, Measured]
    ) -> Iterator[Offer]:
        for endpoint in own.endpoints():
            if not endpoint.leaving:
                yield self._endpoint(endpoint, hardware, measured.get(endpoint.spec.name, Measured()))
        for upstream in own.upstreams():
            yield self.upstream_offer(upstream, None, measured.get(upstream.name, Measured()))

    def _endpoint(self, endpoint: Endpoint, hardware: Sequence[Hardware], measured: Measured) -> Offer:
        spec, document = endpoint.spec, _document(endpoint)
        one = hardware_of(endpoint, hardware)
        quotes = self._quotes_of(endpoint, one)
        region = one.region if one is not None else _text(_part(document, "provider").get("region")) or ""
        return Offer(
            model=model_of(endpoint) or spec.name,
            provider=spec.provider,
            kind=OfferKind.HARDWARE,
            source=HERE,
            quotes=tuple(quotes[:1]),
            others=tuple(quotes[1:]),
            status=endpoint.phase.value,
            endpoint=spec.name,
            region=region,
            tags=region_tags(region),
            task=spec.task or _text(_part(document, "model").get("task")),
            measured=measured.throughput,
            cost=measured.cost,
            cold_start=endpoint.expected_start,
            hardware=one.id if one is not None else None,
        )

    def _quotes_of(self, endpoint: Endpoint, hardware: Hardware | None) -> Sequence[Quote]:
        """What an hour of a replica costs: as the price book says, else the hardware's listing."""
        known = self._prices.told_of_endpoint(endpoint) if self._prices is not None else ()
        if known or hardware is None:
            return known
        return hardware_quotes([hardware], source=endpoint.spec.provider, at=self._clock.wall())

    def upstream_offer(self, upstream: Upstream, model: str | None, measured: Measured | None = None) -> Offer:
        """What an upstream has on offer under a name of its own; None: its own model."""
        told = list(self._prices.told_of_upstream(upstream, model)) if self._prices is not None else []
        if not told and upstream.price is not None:
            told = list(_token_quotes(upstream.name, upstream.price, CONFIGURATION, self._clock.wall()))
        first = {quote.unit: quote for quote in reversed(told)}
        quotes = tuple(first[unit] for unit in (Unit.MILLION_TOKENS_IN, Unit.MILLION_TOKENS_OUT) if unit in first)
        return Offer(
            model=model or upstream.model or upstream.name,
            provider=upstream.name,
            kind=OfferKind.SERVERLESS,
            source=CONFIGURATION,
            quotes=quotes,
            others=tuple(quote for quote in told if quote not in quotes),
            endpoint=upstream.name,
            measured=measured.throughput if measured is not None else None,
        )

    # Inference.

    def token_price(self, provider: str, model: str) -> TokenPrice | None:
        """What who answered for a model charges for its tokens; None where no price is known, or not for both ways."""
        if self._prices is None:
            return None
        subject = f"{provider}/{model.partition(':')[0]}"
        told = [
            next(iter(self._prices.told_of_model(subject, unit)), None)
            for unit in (Unit.MILLION_TOKENS_IN, Unit.MILLION_TOKENS_OUT)
        ]
        if told[0] is None or told[1] is None:
            return None
        return TokenPrice(input=float(told[0].amount), output=float(told[1].amount))

    async def run_inference(self, payload: InferenceRequest, *, market: str | None = None) -> InferenceAnswer:
        """Have a model of a marketplace answer: the given one, else the first that has it on offer.

        One that does not know the model is passed over. Raises what the marketplace raises, ModelNotFound, and
        ProviderTimeout when `payload.timeout` is over.
        """
        keys = [self._known(market)] if market is not None else list(self._markets)
        missing: ModelNotFound | None = None
        until = asyncio.get_running_loop().time() + payload.timeout
        for key in keys:
            try:
                async with asyncio.timeout_at(until):
                    return await self._markets[key].run_inference(payload)
            except ModelNotFound as error:
                missing = error
            except TimeoutError:
                raise ProviderTimeout(f"{key} did not answer {payload.model} within {payload.timeout:g} s.") from None
        raise missing or ModelNotFound(f"No marketplace has a model {payload.model!r} on offer.", model=payload.model)


async def _first_page(market: Marketplace, wanted: ModelFilter) -> ModelPage:
    """The first page that holds something, of the first few."""
    onward: str | None = None
    async with aclosing(market.list_models(wanted)) as pages:  # type: ignore[type-var]
        looked = 0
        async for page in pages:
            looked, onward = looked + 1, page.next
            if page.models or page.next is None or looked >= _MOST_SIFTED:
                return page
    return ModelPage(models=(), next=onward)


async def _one_model(market: Marketplace, name: str) -> ModelRecord:
    page = await _first_page(market, ModelFilter(id=name))
    found = next((model for model in page.models if model.id.lower() == name.lower()), None)
    if found is None:
        raise ModelNotFound(f"There is no model {name!r}.", model=name)
    return found


async def _offers_of(key: str, market: Marketplace) -> Sequence[Offer]:
    models: list[ModelRecord] = []
    async with aclosing(market.list_models(ModelFilter(served=True, limit=100))) as pages:  # type: ignore[type-var]
        async for page in pages:
            models += page.models
            if len(models) >= _MOST_OFFERED:
                break
    return serverless_offers(models, await market.get_pricing(), source=key)


def hardware_of(endpoint: Endpoint, hardware: Sequence[Hardware]) -> Hardware | None:
    """What an endpoint runs on, where its document says so and somebody lists it."""
    document = _document(endpoint)
    compute, place = _part(document, "compute"), _part(document, "provider")
    wanted = (place.get("vendor"), place.get("region"), compute.get("instanceType"), compute.get("instanceSize"))
    if None in wanted:
        return None
    return next((o for o in hardware if (o.vendor, o.region, o.instance_type, o.instance_size) == wanted), None)


def model_of(endpoint: Endpoint) -> str | None:
    """Which model an endpoint runs; None where that is not told."""
    return endpoint.spec.engine.model or _text(_part(_document(endpoint), "model").get("repository"))


def _document(endpoint: Endpoint) -> Mapping[str, Any]:
    if endpoint.document is not None:
        return endpoint.document
    deployment = endpoint.spec.deployment
    return deployment.document if deployment is not None else {}


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _token_quotes(name: str, price: TokenPrice, source: str, at: float) -> tuple[Quote, ...]:
    amounts = ((Unit.MILLION_TOKENS_IN, price.input), (Unit.MILLION_TOKENS_OUT, price.output))
    return tuple(
        Quote(subject=name, unit=unit, amount=Decimal(repr(amount)), source=source, at=at) for unit, amount in amounts
    )
