"""A marketplace that a plug-in may have brought, held to its word: nothing that it does wrong gets any further."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

import structlog

from lamplighter.domain.inference import InferenceAnswer, InferenceRequest
from lamplighter.domain.model_filter import LONGEST_CURSOR, ModelFilter, ModelPage
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.offers import ModelRecord
from lamplighter.domain.prices import why_not_believed
from lamplighter.errors import LamplighterError, ProviderError, ProviderTimeout
from lamplighter.providers.market import Marketplace

log = structlog.get_logger("lamplighter.market")

_MOST_NAMED = 3
_LONGEST_NAME = 100


class Guarded:
    """`market` by its `key`. Raises LamplighterError alone, and gives nothing but what the protocol says.

    A fault of the marketplace's is a ProviderError for whoever asks, and stands in the log with its traceback. Prices
    that can't be are left out.
    """

    def __init__(self, key: str, market: Marketplace) -> None:
        self._key = key
        self._market = market
        self._last: dict[tuple[str, Unit], Decimal] = {}
        """What was good last of each price that the last answer named."""

    async def list_models(self, wanted: ModelFilter) -> AsyncIterator[ModelPage]:
        """See Marketplace."""
        pages: object = None
        try:
            with self._named("list_models"):
                pages = self._market.list_models(wanted)
                if not isinstance(pages, AsyncIterator):
                    raise self._wrong("list_models", "what yields pages")
                async for page in pages:
                    yield self._page(page)
        finally:
            await _closed(pages)

    async def get_pricing(self) -> Sequence[Quote]:
        """See Marketplace."""
        with self._named("get_pricing"):
            told: object = await self._market.get_pricing()
            if not isinstance(told, Sequence):
                raise self._wrong("get_pricing", "quotes")
            good, refused = self._judged(told)
        if refused:
            some = "; ".join(refused[:_MOST_NAMED])
            log.warning("prices that can't be are left out", market=self._key, count=len(refused), some=some)
        return good

    def _judged(self, told: Sequence[object]) -> tuple[list[Quote], list[str]]:
        """What can be believed, and why the rest can't."""
        good, refused, last = list[Quote](), list[str](), dict[tuple[str, Unit], Decimal]()
        for one in told:
            before = self._last.get((one.subject, one.unit)) if isinstance(one, Quote) else None
            why = why_not_believed(one, before)
            if not isinstance(one, Quote) or why is not None:
                refused.append(f"{str(getattr(one, 'subject', one))[:_LONGEST_NAME]}: {why}")
            else:
                good.append(one)
            if isinstance(one, Quote) and (amount := before if why else one.amount or before):
                last[one.subject, one.unit] = amount
        self._last = last
        return good, refused

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        """See Marketplace."""
        with self._named("run_inference"):
            answer: object = await self._market.run_inference(payload)
            if not isinstance(answer, InferenceAnswer) or not _is_whole(answer):
                raise self._wrong("run_inference", "an answer")
            return answer

    def _page(self, page: object) -> ModelPage:
        if not isinstance(page, ModelPage) or not all(isinstance(one, ModelRecord) for one in page.models):
            raise self._wrong("list_models", "a page of models")
        if page.next is not None and not (isinstance(page.next, str) and len(page.next) <= LONGEST_CURSOR):
            raise self._wrong("list_models", "a cursor that is a short text")
        return page

    def _wrong(self, method: str, right: str) -> ProviderError:
        return ProviderError(f"{self._key} is of no use as it is: its {method} gives something else than {right}.")

    @contextmanager
    def _named(self, method: str) -> Iterator[None]:
        try:
            yield
        except LamplighterError:
            raise
        except TimeoutError:
            raise ProviderTimeout(f"{self._key} did not answer in time.") from None
        except Exception as error:  # somebody else's code, and it may fail in any way
            log.exception("a marketplace broke", market=self._key, method=method)
            text = f"{self._key} broke in its {method} ({type(error).__name__}); the log tells more."
            raise ProviderError(text) from None


def _is_whole(answer: InferenceAnswer) -> bool:
    texts = (answer.model, answer.provider, answer.content_type)
    return isinstance(answer.body, bytes) and all(isinstance(text, str) and text.isprintable() for text in texts)


async def _closed(pages: object) -> None:
    """Leave a listing in order, where it can be."""
    if isinstance(pages, Coroutine):  # somebody forgot to yield: nobody will await it
        pages.close()
    close = getattr(pages, "aclose", None)
    if close is not None:
        await close()
