"""The models that Hugging Face's router passes requests on for: who serves each, at what price, how fast.

`GET https://router.huggingface.co/v1/models`, which takes no token (huggingface.co/docs/inference-providers/hub-api).
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from lamplighter.errors import ProviderError, RateLimited
from lamplighter.hf.exchange import Asked, Question, parsed
from lamplighter.hf.hosts import Hosts, address, host_of, same_origin
from lamplighter.hf.pace import Pace
from lamplighter.hf.reading import Raw, amount, flag, part, parts, text, texts, whole

if TYPE_CHECKING:  # what speaks HTTP is imported at the first question
    from lamplighter.hf.wire import Wire

MOST_BYTES = 32 * 1024 * 1024
"""Of one page of the listing."""

MOST_PAGES = 50
_NEXT = re.compile(r"<([^>]{1,2000})>\s*;[^,]*\brel=\"?next\"?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model at one provider of inference, as the router tells it.

    `input` and `output` are what a million tokens cost, as told: exact numbers, or whatever stood there; None: not
    told. `context` is in tokens, `first_token` in seconds, `throughput` in tokens a second, both of the router's last
    probe. What is None was not told.
    """

    model: str
    provider: str
    status: str
    input: object = None
    output: object = None
    currency: object = "USD"
    per: str = "million_tokens"
    is_free: bool = False
    context: int | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    first_token: float | None = None
    throughput: float | None = None
    is_model_author: bool = False
    owner: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """Its name in the book of prices."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class RouterListing:
    """All models at all providers. `left_out` counts entries that lacked the name of the model or of who serves it."""

    served: Sequence[ServedModel]
    left_out: int = 0


class RouterApi:
    """Asks one router, without a token. `base` is what its clients call the base URL (`https://host/v1`).

    Retried, and bounded, as `Wire` does it; a page after the first one is only followed to the same host.
    """

    def __init__(
        self,
        base: str,
        *,
        timeout: float = 20.0,
        pace: Pace = Pace(attempts=3, deadline=25.0),  # noqa: B008 - frozen
        sleep: Callable[[float], Awaitable[None]] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._base = address(base, "router_url")
        self._timeout = timeout
        self._pace = pace
        self._sleep = sleep or asyncio.sleep
        self._most_bytes = most_bytes
        self._made: Wire | None = None

    @property
    def url(self) -> str:
        """What is asked."""
        return f"{self._base}/models"

    async def close(self) -> None:
        """Close all connections."""
        if self._made is not None:
            await self._made.close()

    async def models(self) -> RouterListing:
        """Every model of every page.

        Raises ProviderError for what is no such listing, in whole or in part; ProviderUnreachable, RateLimited.
        """
        items: list[Any] = []
        onward: str | None = self.url
        seen = {self.url}
        while onward is not None:
            page, onward = await self._page(onward)
            items += page
            if onward in seen:
                break
            if onward is not None:
                seen.add(onward)
            if len(seen) > MOST_PAGES:
                raise ProviderError(f"{host_of(self.url)}: its listing does not end after {MOST_PAGES} pages.")
        return listing_of(items, host_of(self.url))

    async def _page(self, url: str) -> tuple[list[Any], str | None]:
        question = Question(method="GET", url=url, secret_free=True, most_bytes=self._most_bytes)
        answer = await self._wire.ask(question)
        host = host_of(url)
        if not answer.is_success:
            from lamplighter.hf.answers import error_for  # noqa: PLC0415 - paid for by those who fail

            if answer.wait is not None:
                text = f"{host} answered {answer.status}, and wants to be left alone for {answer.wait:g} s."
                raise RateLimited(text, retry_after=answer.wait)
            raise error_for(answer, Asked(host=host))
        body = parsed(answer, host, exact=True)
        if not isinstance(body, dict) or not isinstance(body.get("data"), list):
            raise ProviderError(f"{host} answered something that is no listing of models: no list `data` in it.")
        found = _NEXT.search(answer.headers.get("link", "")[:10_000])
        onward = urljoin(url, found[1]) if found else None
        if onward is not None and not same_origin(url, onward):
            raise ProviderError(f"{host} goes on at {host_of(onward)}, which was not asked; that is not followed.")
        return body["data"], onward

    @property
    def _wire(self) -> Wire:
        if self._made is None:
            from lamplighter.hf.wire import Wire  # noqa: PLC0415 - an import of the package should not pay for it

            hosts = Hosts(management=self._base, hub=self._base, catalog=self._base, is_cloud=False)
            self._made = Wire(
                hosts,
                _no_token,
                missing=None,
                timeout=self._timeout,
                pace=self._pace,
                clock=time.monotonic,
                sleep=self._sleep,
                chance=random.random,
            )
        return self._made


async def _no_token() -> None:
    return None


def listing_of(items: Sequence[Any], host: str) -> RouterListing:
    """Read what stands in `data`. Raises ProviderError where more than half of it is not as it should be."""
    served: list[ServedModel] = []
    left_out = 0
    for item in items:
        found = _served(item) if isinstance(item, dict) else None
        left_out += 1 if not found else sum(one is None for one in found)
        served += [one for one in found or () if one is not None]
    if not served:
        raise ProviderError(f"{host} lists no model that anybody serves.")
    if left_out > len(served):
        raise ProviderError(f"{host}: {left_out} of {left_out + len(served)} entries of its listing are damaged.")
    return RouterListing(served, left_out)


def _served(item: Raw) -> list[ServedModel | None] | None:
    """A model at each of its providers, None for a damaged one; None for a damaged model."""
    name = text(item, "id")
    if name is None or not isinstance(item.get("providers"), list):
        return None
    return [_one(name, item, provider) for provider in parts(item, "providers")]


def _one(name: str, item: Raw, raw: Raw) -> ServedModel | None:
    provider = text(raw, "provider")
    if provider is None:
        return None
    pricing, shape = part(raw, "pricing"), part(item, "architecture")
    latency = amount(raw, "first_token_latency_ms")
    return ServedModel(
        model=name[:300],
        provider=provider[:100],
        status=text(raw, "status") or "",
        input=pricing.get("input"),
        output=pricing.get("output"),
        currency=pricing.get("currency", "USD"),
        per=str(pricing.get("unit", "million_tokens"))[:100],
        is_free=flag(raw, "is_free") or False,
        context=whole(raw, "context_length"),
        tools=flag(raw, "supports_tools"),
        structured_output=flag(raw, "supports_structured_output"),
        first_token=None if latency is None else latency / 1000.0,
        throughput=amount(raw, "throughput"),
        is_model_author=flag(raw, "is_model_author") or False,
        owner=text(item, "owned_by") or "",
        inputs=texts(shape, "input_modalities"),
        outputs=texts(shape, "output_modalities"),
    )


def choice_of(served: Sequence[ServedModel], policy: str) -> ServedModel | None:
    """Who serves a request for a model: `policy` is a provider, `cheapest` (by output), or `fastest`, the default.

    Only who is live. Where nothing told how fast it is, the first one; None where nobody serves it.
    """
    live = [one for one in served if one.status in {"live", ""}]
    if policy not in {"", "fastest", "preferred", "cheapest"}:
        return next((one for one in live if one.provider == policy), None)
    if policy == "cheapest":
        priced = [one for one in live if amount({"x": one.output}, "x") is not None]
        return min(priced, key=lambda one: amount({"x": one.output}, "x") or 0.0, default=None)
    return max(live, key=lambda one: one.throughput or 0.0, default=None)
