"""Where prices come from, apart from the configuration: each feed tells all it knows when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamplighter.control.clock import Clock
from lamplighter.control.list_prices import ListPrices
from lamplighter.domain.prices import LIST_PRICES, RESERVED, ROUTER, Kind, Told, told_of_hardware
from lamplighter.errors import ProviderError
from lamplighter.hf.router import RouterApi, ServedModel
from lamplighter.providers.base import Provider, RunsHere


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole answer of a feed. `left_out` counts what was too damaged to be read."""

    told: Sequence[Told]
    left_out: int = 0


class Feed(Protocol):
    """Something that tells prices. `source` is its name in the book, `asks` where it asks, for people."""

    @property
    def source(self) -> str: ...

    @property
    def asks(self) -> str: ...

    async def ask(self) -> Heard:
        """All prices there are. Raises LamplighterError, for an answer that is not whole as well."""

    async def close(self) -> None: ...


def source_of(provider: str) -> str:
    """The name of a provider's feed in the book: its own, unless that is a word for something else."""
    taken = provider in RESERVED or provider.startswith("snapshot ")
    return f"provider:{provider}" if taken else provider


class HardwareFeed:
    """What a provider charges for its hardware. `name` is the provider's in the configuration."""

    def __init__(self, name: str, provider: Provider) -> None:
        self._name = name
        self._provider = provider

    @property
    def source(self) -> str:
        return source_of(self._name)

    @property
    def asks(self) -> str:
        return f"provider {self._name}"

    async def ask(self) -> Heard:
        told = [one for hardware in await self._provider.hardware() if (one := told_of_hardware(hardware)) is not None]
        if not told:
            raise ProviderError(f"{self._name} tells no price of any hardware.")
        return Heard(told)

    async def close(self) -> None:
        """Nothing: the provider closes its connections itself."""


def has_prices(provider: Provider) -> bool:
    """Whether a provider may tell what its hardware costs. For this machine the configuration does."""
    return provider.capabilities.deploys and not isinstance(provider, RunsHere)


class RouterFeed:
    """What inference providers charge behind Hugging Face's router. `served` is what it told last, for other uses."""

    source = ROUTER

    def __init__(self, api: RouterApi) -> None:
        self._api = api
        self.served: Sequence[ServedModel] = ()

    @property
    def asks(self) -> str:
        return self._api.url

    async def ask(self) -> Heard:
        listing = await self._api.models()
        told = [one for served in listing.served for one in _of_model(served)]
        if not told:
            raise ProviderError(f"{self.asks} tells no price of any model.")
        self.served = listing.served
        return Heard(told, listing.left_out)

    async def close(self) -> None:
        await self._api.close()


def _of_model(served: ServedModel) -> Iterator[Told]:
    for amount, way in ((served.input, "in"), (served.output, "out")):
        if amount is not None:
            yield Told(
                kind=Kind.MODEL,
                provider=served.provider,
                subject=served.subject,
                amount=amount,
                per=f"{served.per}_{way}",
                currency=served.currency,
                free=served.is_free,
            )


class ListFeed:
    """List prices of model APIs. `urls` are those whose prices are wanted; None: all that are known."""

    source = LIST_PRICES
    asks = "the package genai-prices"

    def __init__(self, prices: ListPrices, urls: Collection[str] | None, clock: Clock) -> None:
        self._prices = prices
        self._urls = urls
        self._clock = clock

    async def ask(self) -> Heard:
        told = await asyncio.to_thread(self._prices.told, self._urls, self._clock.wall())
        if not told and self._urls is None:
            raise ProviderError("The package genai-prices names no price.")
        return Heard(told)  # of APIs that it does not know, it tells none

    async def close(self) -> None:
        """Nothing is open."""
