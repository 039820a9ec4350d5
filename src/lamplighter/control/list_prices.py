"""List prices of model APIs, as the package genai-prices knows them. It is read when they are wanted: asks nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from lamplighter.domain.prices import Kind, Told

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

_UNITS = {
    "input_mtok": "million_tokens_in",
    "output_mtok": "million_tokens_out",
    "requests_kcount": "thousand_requests",
    "audio_hours": "audio_hour",
    "input_audio_hours": "audio_hour",
}
"""Of the units of that package those that a request's record can be costed by, and ours."""


class ListPrices:
    """What the package knows. Its methods may take a tenth of a second when they are first called: for a thread."""

    def __init__(self) -> None:
        self._providers: list[Provider] | None = None

    @property
    def are_read(self) -> bool:
        """Whether the package has been read, so that a question takes no time."""
        return self._providers is not None

    def told(self, urls: Collection[str] | None, now: float) -> list[Told]:
        """The prices of those who serve at one of `urls`; None: of all. `now` is Unix time: some depend on it."""
        moment = datetime.fromtimestamp(now, UTC)
        return [
            told
            for provider in self._known()
            if urls is None or any(_serves(provider, url) for url in urls)
            for model in provider.models
            for told in _prices(provider, model, moment)
        ]

    def subject(self, url: str, model: str) -> str | None:
        """The name in the book of the model that is called `model` at `url`; None where it is not known."""
        providers = self._known()
        for provider in providers:
            if _serves(provider, url) and (found := provider.find_model(model, all_providers=providers)) is not None:
                return f"{provider.id}/{found.id}"
        return None

    def _known(self) -> list[Provider]:
        if self._providers is None:
            from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 80 ms and 11 MB, for who wants it

            self._providers = get_snapshot().providers
        return self._providers


def _serves(provider: Provider, url: str) -> bool:
    import re  # noqa: PLC0415

    return re.match(provider.api_pattern, url) is not None


def _prices(provider: Provider, model: ModelInfo, moment: datetime) -> Iterator[Told]:
    for per, amount in _amounts(model.get_prices(moment)):
        yield Told(
            kind=Kind.MODEL,
            provider=provider.id,
            subject=f"{provider.id}/{model.id}",
            amount=amount,
            per=per,
            estimate=True,  # a published list, and maybe the first of several tiers
            free=amount == 0,
        )


def _amounts(price: ModelPrice) -> Iterator[tuple[str, Decimal]]:
    """Each unit with its price; of several tiers the first one's."""
    for word, per in _UNITS.items():
        told = vars(price).get(word)
        if isinstance(told, Decimal):
            yield per, told
        elif told is not None:
            yield per, told.base
