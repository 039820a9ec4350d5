"""Hugging Face as a marketplace: the Hub's catalogue, and the router's models with their prices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from lamplighter.domain.inference import TASK, InferenceAnswer, InferenceRequest
from lamplighter.domain.model_filter import ModelFilter, ModelPage
from lamplighter.domain.money import Quote
from lamplighter.domain.offers import ModelRecord, ServedBy
from lamplighter.domain.prices import ROUTER, Kind, Listing, Told, judged
from lamplighter.domain.secret import Secret
from lamplighter.domain.tasks import modality_of
from lamplighter.errors import TokenMissing
from lamplighter.hf.hosts import Hosts
from lamplighter.hf.hub import HubApi
from lamplighter.hf.inference import ask, check_surface, question_of
from lamplighter.hf.models import SOURCE
from lamplighter.hf.pace import Pace
from lamplighter.hf.router import RouterApi, RouterListing, ServedModel
from lamplighter.hf.token import cloud_token_missing
from lamplighter.hf.wire import Wire
from lamplighter.providers.huggingface.options import Options
from lamplighter.secrets.sources import Secrets

LISTING_AGE = 60.0
"""How long the router's listing is taken for true (seconds)."""

_PACE = Pace(attempts=4, deadline=30.0)
_CHAT = "text-generation"
_SEES = "image-text-to-text"


class HuggingFaceMarket:
    """The Hub's models, and those that the router passes requests on for.

    Listings need no token. `token` is asked for at each call, and goes to the Hub and the router alone. `wall` is Unix
    time; `options` are those of `Wire`. Not for use by several threads.
    """

    def __init__(
        self,
        hosts: Hosts,
        token: Callable[[], Awaitable[Secret | None]],
        *,
        timeout: float = 20.0,
        pace: Pace = _PACE,
        wall: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        self._hosts = hosts
        self._wall = wall
        self._wire = Wire(hosts, token, missing=cloud_token_missing, timeout=timeout, pace=pace, wall=wall, **options)
        self._hub = HubApi(self._wire)
        self._router = RouterApi(f"{hosts.router}/v1", timeout=timeout, pace=pace, sleep=options.get("sleep"))
        self._asking = asyncio.Lock()
        self._listed: tuple[float, float, RouterListing] | None = None

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()
        await self._router.close()

    async def list_models(self, wanted: ModelFilter) -> AsyncIterator[ModelPage]:
        """See Marketplace. Those that are `served` are the router's, in one page."""
        if wanted.served and wanted.id is None and wanted.cursor is None:
            _, listing = await self._listing()
            yield ModelPage(models=tuple(one for one in models_of(listing) if wanted.takes(one)))
            return
        async with aclosing(self._hub.pages(wanted)) as pages:  # type: ignore[type-var]
            async for page in pages:
                yield page

    async def _listing(self) -> tuple[float, RouterListing]:
        """What the router lists, and when it said so (Unix time); models and prices are in one answer."""
        async with self._asking:
            if self._listed is None or self._wire.clock() - self._listed[0] > LISTING_AGE:
                listing = await self._router.models()
                self._listed = self._wire.clock(), self._wall(), listing
            return self._listed[1:]

    async def get_pricing(self) -> Sequence[Quote]:
        """See Marketplace: the router's prices. One that is absurd is no quote."""
        at, listing = await self._listing()
        return quotes_of(listing, at)

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        """See Marketplace. Chats and responses go to the router, tasks to `hf-inference`."""
        check_surface(payload)
        model = await self._hub.model(payload.model) if payload.meant_for == TASK else None
        question = question_of(payload, self._hosts.router, model)
        return await ask(self._wire, question, payload, missing=cloud_token_missing)


def models_of(listing: RouterListing) -> list[ModelRecord]:
    """The router's listing as models, each with all who serve it."""
    found: dict[str, list[ServedModel]] = {}
    for one in listing.served:
        found.setdefault(one.model, []).append(one)
    return [_model(name, served) for name, served in found.items()]


def _model(name: str, served: Sequence[ServedModel]) -> ModelRecord:
    sees = any("image" in one.inputs for one in served)
    task = _SEES if sees else _CHAT
    return ModelRecord(
        id=name,
        task=task,
        modality=modality_of(task),
        context=max((one.context for one in served if one.context), default=None),
        providers=tuple(_serves(one, task) for one in served),
        source=SOURCE,
    )


def _serves(one: ServedModel, task: str) -> ServedBy:
    return ServedBy(
        provider=one.provider,
        status=one.status,
        task=task,
        context=one.context,
        tools=one.tools,
        structured_output=one.structured_output,
        throughput=one.throughput,
        first_token=one.first_token,
        is_free=one.is_free,
        is_author=one.is_model_author,
    )


def quotes_of(listing: RouterListing, at: float) -> list[Quote]:
    """What the router's models cost, as it said at the Unix time `at`."""
    told = (told for one in listing.served for told in _told(one))
    judgements = (judged(one, ROUTER, at, None) for one in told)
    return [one.quote for one in judgements if isinstance(one, Listing)]


def _told(one: ServedModel) -> list[Told]:
    amounts: Mapping[str, object] = {f"{one.per}_in": one.input, f"{one.per}_out": one.output}
    return [
        Told(
            kind=Kind.MODEL,
            provider=one.provider,
            subject=one.subject,
            amount=amount,
            per=per,
            currency=one.currency,
            free=one.is_free,
        )
        for per, amount in amounts.items()
        if amount is not None
    ]


def make_market(options: Mapping[str, Any], secrets: Secrets | None = None) -> HuggingFaceMarket | None:
    """The marketplace that goes with a provider's options; None where those lead to a server that has none.

    Raises InvalidInput for options that are wrong.
    """
    settings = Options.of(options)
    hosts = settings.find_hosts()
    if not hosts.is_cloud:
        return None
    find = settings.find_token(secrets)

    async def token() -> Secret | None:
        try:
            return await asyncio.to_thread(find)  # it may read a file, or ask a vault
        except TokenMissing:
            return None  # listings need none; a call that does says so

    return HuggingFaceMarket(hosts, token)
