"""Models, offers and inference for a client: asked of Hugging Face directly, or of a Lamplighter server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from lamplighter.control.clock import Clock
from lamplighter.control.market import Market, MarketSource
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.inference import InferenceAnswer, InferenceRequest
from lamplighter.domain.model_filter import MOST_PER_PAGE, ModelFilter
from lamplighter.domain.offer_choice import OfferFilter
from lamplighter.domain.offers import ModelRecord, Offer
from lamplighter.domain.prices import money
from lamplighter.errors import InvalidInput, ProviderError
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.inference import answer_of, refusal
from lamplighter.hf.token import server_key_missing
from lamplighter.providers.huggingface.market import HuggingFaceMarket

MOST_MODELS = 10_000
"""Models that one call lists at most."""

_MOST_OFFERS = 1000
_MOST_PAGES = 200

T = TypeVar("T")


class ModelList(list[ModelRecord]):
    """Models. `more`: there are others. `age` is how many seconds ago the oldest page was told."""

    def __init__(self, models: Iterable[ModelRecord] = (), *, more: bool = False, age: float = 0.0) -> None:
        super().__init__(models)
        self.more = more
        self.age = age
        self.trouble: str | None = None
        """Why nothing newer is known."""


class OfferList(list[Offer]):
    """Offers. `sources` say who told of them, when, and who could not."""

    def __init__(self, offers: Iterable[Offer] = (), *, sources: Sequence[MarketSource] = ()) -> None:
        super().__init__(offers)
        self.sources = tuple(sources)


class Shopping(Protocol):
    """Where models are looked for and called."""

    async def models(self, wanted: ModelFilter, limit: int) -> ModelList:
        """At most `limit` models."""

    async def offers(self, wanted: OfferFilter) -> OfferList:
        """The offers that are wanted, sorted."""

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        """Have a model answer."""

    async def close(self) -> None:
        """Close all connections."""


def shopping_at(api: ManagementApi) -> Shopping:
    """Where a client of this API looks for models."""
    return AtHuggingFace(api) if api.is_cloud else AtServer(api)


def check_limit(limit: int) -> int:
    """Raises InvalidInput."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_MODELS:
        raise InvalidInput(f"limit: {limit!r} should be a whole number from 1 to {MOST_MODELS}", field="limit")
    return limit


def exact_price(value: Decimal | float | str | None) -> Decimal | None:
    """A bound for prices, as whoever wrote it meant it. Raises InvalidInput."""
    if value is None:
        return None
    try:
        return Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        text = f"max_price: {str(value)[:80]!r} should be a number of dollars, such as 0.60"
        raise InvalidInput(text, field="max_price") from None


def offer_document(offer: Offer) -> dict[str, Any]:
    """An offer as the route `/api/offers` has it: amounts are exact decimals, as text."""
    document = asdict(offer)
    for one in (*document["quotes"], *document["others"]):
        one["amount"] = money(one["amount"])
    if offer.measured is not None:
        document["measured"]["tokens_per_second"] = offer.measured.tokens_per_second
    if (cost := offer.cost) is not None:
        per = {"per_million_tokens": cost.per_million_tokens, "per_request": cost.per_request}
        told = {"dollars": money(cost.dollars)} | {name: money(one) if one else None for name, one in per.items()}
        document["cost"] |= told
    price = offer.price_per_million
    return document | {
        "cost_basis": offer.cost_basis,
        "disagrees": offer.disagrees,
        "modality": offer.modality,
        "price_per_million": money(price) if price is not None else None,
        "price_basis": offer.price_basis,
    }


class AtHuggingFace:
    """The Hub, the router, and the hardware of Inference Endpoints; no server is needed."""

    def __init__(self, api: ManagementApi) -> None:
        self._api = api
        self._there = HuggingFaceMarket(api.hosts, api.token)
        self._market = Market({_CLOUD: self._there}, Clock(), hardware=self._hardware)

    async def close(self) -> None:
        """Close all connections."""
        await self._there.close()

    async def _hardware(self) -> list[tuple[str, Hardware]]:
        return [(_CLOUD, one) for one in await self._api.hardware()]

    async def models(self, wanted: ModelFilter, limit: int) -> ModelList:
        """See Shopping."""
        found = ModelList()
        for _ in range(_MOST_PAGES):
            told = await self._market.models(replace(wanted, limit=min(MOST_PER_PAGE, limit)))
            found += told.value.models
            found.age, found.trouble = max(found.age, told.age), found.trouble or told.trouble
            found.more = told.value.next is not None or len(found) > limit
            if told.value.next is None or len(found) >= limit:
                break
            wanted = replace(wanted, cursor=told.value.next)
        del found[limit:]
        return found

    async def offers(self, wanted: OfferFilter) -> OfferList:
        """See Shopping."""
        found = await self._market.offers(wanted)
        return OfferList(found.offers, sources=found.sources)

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        """See Shopping."""
        return await self._market.run_inference(payload)


class AtServer:
    """What a Lamplighter knows of: its own models, and those of its marketplaces."""

    def __init__(self, api: ManagementApi) -> None:
        self._api = api

    async def close(self) -> None:
        """The connections are the API's."""

    async def models(self, wanted: ModelFilter, limit: int) -> ModelList:
        """See Shopping."""
        found = ModelList()
        for _ in range(_MOST_PAGES):
            asked = replace(wanted, limit=min(MOST_PER_PAGE, limit))
            body = await self._api.call("GET", "/api/models", params=_query(asdict(asked)))
            found += _read(body, "models", ModelRecord)
            age, onward = body.get("age"), body.get("next")
            found.age = max(found.age, age if isinstance(age, int | float) else 0.0)
            found.trouble = found.trouble or body.get("trouble")
            found.more = onward is not None or len(found) > limit
            if not isinstance(onward, str) or len(found) >= limit:
                break
            wanted = replace(wanted, cursor=onward)
        del found[limit:]
        return found

    async def offers(self, wanted: OfferFilter) -> OfferList:
        """See Shopping."""
        query, limit = _query(asdict(replace(wanted, limit=None))), wanted.limit or MOST_MODELS
        found, offset = OfferList(), 0
        for _ in range(_MOST_PAGES):
            page = {"limit": str(min(limit - len(found), _MOST_OFFERS)), "offset": str(offset)}
            body = await self._api.call("GET", "/api/offers", params=query | page)
            found += _read(body, "offers", Offer)
            found.sources = tuple(_read(body, "sources", MarketSource))
            onward = body.get("next")
            if type(onward) is not int or onward <= offset or len(found) >= limit:
                break
            offset = onward
        return found

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        """See Shopping."""
        named = {"surface": payload.surface, "provider": payload.provider, "timeout": f"{payload.timeout:g}"}
        answer = await self._api.post(
            f"/api/inference/{quote(payload.model, safe='/')}",
            dict(payload.body),
            params=_query(named),
            timeout=payload.timeout,
        )
        host = self._api.hosts.name
        if not answer.is_success:
            token = await self._api.token()
            raise refusal(answer, host, payload.model, token, lambda: server_key_missing(host))
        return answer_of(answer, payload, host)


_CLOUD = "huggingface"


def _query(values: Mapping[str, Any]) -> dict[str, str]:
    """What was given, as a query has it."""
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    if values.get("tools") is False:
        given["tools"] = False
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


def _read(body: Any, key: str, kind: type[T]) -> list[T]:
    """The records of a page. Raises ProviderError for what a Lamplighter would not have answered."""
    try:
        return [msgspec.convert(item, kind) for item in body[key]]
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        raise ProviderError(f"The server's answer can't be read: {error}. Is it an older one?") from None
