"""What a marketplace must be able to do: list models, say what they cost, and have them answer.

A provider in the registry may be a place for endpoints, a marketplace, or both; `abilities` of its factory says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from lamplighter.domain.inference import InferenceAnswer, InferenceRequest
from lamplighter.domain.model_filter import ModelFilter, ModelPage
from lamplighter.domain.money import Quote


@runtime_checkable
class Marketplace(Protocol):
    """Where models are listed, priced and called. All methods are called on the event loop.

    Every method raises LamplighterError and nothing else on purpose: NotAllowed, RateLimited, PaymentRequired,
    QuotaExceeded, ModelNotFound, InvalidInput, Overloaded, ProviderTimeout, ProviderUnreachable, ProviderError.
    """

    def list_models(self, wanted: ModelFilter) -> AsyncIterator[ModelPage]:
        """Yield pages of models, from `wanted.cursor` on; each tells the cursor of the next.

        With `served`, the records tell who serves each model and on which terms (`ModelRecord.providers`). What the
        catalogue can't sift is sifted here: `ModelFilter.takes`.
        """

    async def get_pricing(self) -> Sequence[Quote]:
        """What is charged, as quotes: of served models, about `provider/model`. Empty where nothing is known."""

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        """Have a model answer, within `payload.timeout` seconds."""


def marketplace_of(provider: object) -> Marketplace | None:
    """The marketplace that a provider is, or stands around; None for a place for endpoints alone."""
    inner = getattr(provider, "market", provider)
    return inner if isinstance(inner, Marketplace) else None
