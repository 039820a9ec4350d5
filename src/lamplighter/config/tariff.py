"""The prices that a configuration names, and what must fit together between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from lamplighter.config.elsewhere import HERE, HUGGING_FACE, kinds_of
from lamplighter.config.file import EndpointSettings, File, ProviderSettings
from lamplighter.config.problems import Path
from lamplighter.config.routes import HUGGING_FACE_ROUTER, RouteSettings, UpstreamSettings
from lamplighter.domain.prices import MOST, Rate, Tariff, TokenRates
from lamplighter.hf.hosts import is_hugging_face

Complaint = tuple[Path, str]


def tariff_of(
    endpoints: Mapping[str, EndpointSettings],
    providers: Mapping[str, ProviderSettings],
    upstreams: Mapping[str, UpstreamSettings],
) -> Tariff:
    """What the sections say of prices. `providers` have their types filled in."""
    prices = {name: _decimal(one.price_per_hour) for name, one in endpoints.items() if one.price_per_hour is not None}
    rates = {name: rate for name, one in providers.items() if (rate := _rate(one)) is not None}
    tokens = {
        name: TokenRates(input=_decimal(one.price.input), output=_decimal(one.price.output))
        for name, one in upstreams.items()
        if one.price is not None
    }
    return Tariff(
        endpoints=prices,
        rates=rates,
        upstreams=tokens,
        published=frozenset(name for name, one in providers.items() if _is_published(one)),
    )


def _decimal(value: float) -> Decimal:
    """A number of the file, exactly as it stands there: the shortest text that means the same."""
    return Decimal(str(value))


def _rate(provider: ProviderSettings) -> Rate | None:
    if provider.price_per_hour is not None:
        return Rate(amount=_decimal(provider.price_per_hour))
    if provider.watts is not None and provider.price_per_kwh is not None:
        return Rate.of_power(_decimal(provider.watts), _decimal(provider.price_per_kwh))
    older = provider.options.get("price_per_hour") if provider.type == "local" else None
    if isinstance(older, int | float) and not isinstance(older, bool) and older > 0:
        return Rate(amount=_decimal(older))
    return None


def _is_published(provider: ProviderSettings) -> bool:
    """Whether what Hugging Face publishes holds there: not at a server that only speaks like it."""
    base = provider.options.get("base_url")
    return provider.type == HUGGING_FACE and (not isinstance(base, str) or is_hugging_face(base))


def complaints(file: File) -> Iterator[Complaint]:
    """What of the prices contradicts something else."""
    kinds = kinds_of(file)
    for name, provider in file.providers.items():
        typed = provider.model_copy(update={"type": kinds[name]})
        yield from ((("providers", name, *path), text) for path, text in _provider(typed))
    for name, route in file.routes.items():
        if route.rent or route.choose == "cheapest":
            key = "rent" if route.rent else "choose"
            yield from ((("routes", name, key), text) for text in _renting(route, file))


def _provider(provider: ProviderSettings) -> Iterator[Complaint]:
    if provider.price_per_hour is not None and provider.watts is not None:
        yield ("watts",), "says the same as price_per_hour; one of them is enough"
    if provider.watts is not None and provider.price_per_kwh is None:
        yield ("watts",), "needs a `price_per_kwh`, such as 0.30"
    if provider.price_per_kwh is not None and provider.watts is None:
        yield ("price_per_kwh",), "needs `watts`, such as 350"
    if (rate := _rate(provider)) is not None and rate.amount > MOST:
        key = ("watts",) if provider.watts is not None else ("options", "price_per_hour")
        yield key, f"comes to more than ${MOST:,} an hour"
    if provider.price_per_hour is not None and "price_per_hour" in provider.options:
        yield ("options", "price_per_hour"), "stands beside `price_per_hour` of the provider; leave this one out"


def _renting(route: RouteSettings, file: File) -> Iterator[str]:
    """Both prices are needed: what a wake costs, and what the tokens do. Some are told by others."""
    names = [target.leads_to for tier in route.tiers() for target in tier]
    for name in names:
        if name in file.endpoints and not _may_have_price(file.endpoints[name], file):
            yield f"needs endpoints.{name}.price_per_hour, or a price of its provider"
        if name in file.upstreams and not _charges(file.upstreams[name], file):
            yield f"needs upstreams.{name}.price, or `prices.list_prices: true` for a model that is known there"


def _may_have_price(endpoint: EndpointSettings, file: File) -> bool:
    """Whether there is a price, or somebody who may tell one."""
    if endpoint.price_per_hour is not None:
        return True
    kind = kinds_of(file).get(endpoint.provider, endpoint.provider)
    provider = file.providers.get(endpoint.provider, ProviderSettings())
    if _rate(provider.model_copy(update={"type": kind})) is not None:
        return True
    return kind not in HERE and (file.prices.hardware or (kind == HUGGING_FACE and file.prices.snapshot))


def _charges(upstream: UpstreamSettings, file: File) -> bool:
    if upstream.price is not None or file.prices.list_prices:
        return True
    if upstream.type == HUGGING_FACE_ROUTER:
        return file.prices.router is not False
    return file.prices.list_prices is None and _is_listed(upstream)


def _is_listed(upstream: UpstreamSettings) -> bool:
    """Whether the list prices that count by default are those of this upstream, and of its model if it names one."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 80 ms and 11 MB, for who rents without a price

    providers = get_snapshot().providers
    return any(
        re.match(one.api_pattern, upstream.base_url) is not None
        and (upstream.model is None or one.find_model(upstream.model, all_providers=providers) is not None)
        for one in providers
    )
