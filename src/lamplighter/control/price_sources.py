"""Which sources of prices a configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lamplighter.config import Settings
from lamplighter.config.routes import HUGGING_FACE_ROUTER, ROUTER_URL
from lamplighter.control.clock import Clock
from lamplighter.control.feed_keeper import FeedPace
from lamplighter.control.feeds import Feed, HardwareFeed, ListFeed, RouterFeed, has_prices
from lamplighter.control.list_prices import ListPrices
from lamplighter.control.prices import Sources
from lamplighter.hf.router import RouterApi
from lamplighter.hf.snapshot import published
from lamplighter.providers.base import Provider


def price_sources(settings: Settings, providers: Mapping[str, Provider]) -> Sources:
    """The sources that count. None is asked that nobody has configured a provider or upstream of."""
    listed = ListPrices()
    tariff = settings.tariff()
    return Sources(
        tariff=tariff,
        feeds=tuple(_feeds(settings, providers, listed)),
        snapshot=published() if settings.prices.snapshot and tariff.published else (),
        routers=frozenset(_routers(settings)),
        listed=listed,
        pace=FeedPace(every=settings.prices.refresh_every),
    )


def _feeds(settings: Settings, providers: Mapping[str, Provider], listed: ListPrices) -> Iterator[Feed]:
    if settings.prices.hardware:
        yield from (HardwareFeed(name, provider) for name, provider in providers.items() if has_prices(provider))
    if (url := _router(settings)) is not None:
        yield RouterFeed(RouterApi(url))
    wanted = settings.prices.list_prices
    others = [one.base_url for one in settings.upstream_settings.values() if one.type != HUGGING_FACE_ROUTER]
    if wanted or (wanted is None and others):
        yield ListFeed(listed, None if wanted else others, Clock())


def _routers(settings: Settings) -> Mapping[str, str]:
    """The upstreams that are Hugging Face's router, by name, with where that is."""
    return {name: one.base_url for name, one in settings.upstream_settings.items() if one.type == HUGGING_FACE_ROUTER}


def _router(settings: Settings) -> str | None:
    """The base URL of the router that is asked; None: of none."""
    wanted, found = settings.prices.router, _routers(settings)
    if wanted is False or (wanted is None and not found):
        return None
    return settings.prices.router_url or next(iter(found.values()), ROUTER_URL)
