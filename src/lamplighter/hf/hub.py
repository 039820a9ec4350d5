"""The Hub's catalogue of models, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from lamplighter.domain.inference import is_model_name
from lamplighter.domain.model_filter import ModelFilter, ModelPage
from lamplighter.domain.offers import ModelRecord
from lamplighter.errors import Forbidden, InvalidInput, LamplighterError, ModelNotFound, ProviderError, RateLimited
from lamplighter.hf.answers import error_for
from lamplighter.hf.exchange import Answer, Asked, Question, parsed, quoted
from lamplighter.hf.hosts import host_of
from lamplighter.hf.models import EXPANDED, PATH, model_of, models_of, next_cursor, query_of
from lamplighter.hf.wire import Wire

MOST_BYTES = 32 * 1024 * 1024
"""Of one page."""

MOST_PAGES = 1000
"""Of one listing."""

_SLASH = frozenset("/")


class HubApi:
    """Asks the Hub that `wire` knows, with its token if there is one; public models are told without.

    Retried and paced as `Wire` does it. When the Hub tells that this window's questions are used up, the next page
    waits for the next window; RateLimited where that is further away than the pace is patient. Errors are those of
    `error_for`.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._base = wire.hosts.hub

    async def pages(self, wanted: ModelFilter) -> AsyncIterator[ModelPage]:
        """Yield page after page, to an end that surely comes. Close it (`contextlib.aclosing`) when leaving early."""
        if wanted.id is not None:
            yield ModelPage(models=(await self.model(wanted.id),))
            return
        seen = set[str | None]()
        while wanted.cursor not in seen:
            seen.add(wanted.cursor)
            if len(seen) > MOST_PAGES:
                raise ProviderError(f"{host_of(self._base)}: its listing does not end after {MOST_PAGES} pages.")
            url = f"{self._base}{PATH}?{query_of(wanted)}"
            answer = await self._asked(url)
            found = models_of(parsed(answer, host_of(url)), host_of(url))
            onward = next_cursor(url, answer.headers) if found else None
            yield ModelPage(models=tuple(model for model in found if _is_wanted(wanted, model)), next=onward)
            if onward is None:
                return
            wanted = replace(wanted, cursor=onward)
            if answer.wait:
                await self._wait_for_window(answer.wait)

    async def model(self, name: str) -> ModelRecord:
        """One model. Raises ModelNotFound, which the Hub also says of what the token may not see."""
        if not is_model_name(name):
            raise InvalidInput(f"model: {name[:80]!r} is no name of a model", field="model")
        expanded = "&".join(f"expand={word}" for word in EXPANDED)
        url = f"{self._base}{PATH}/{quoted(name, _SLASH)}?{expanded}"
        answer = await self._asked(url, name)
        body = parsed(answer, host_of(url))
        found = model_of(body) if isinstance(body, dict) else None
        if found is None:
            raise ProviderError(f"{host_of(url)} answered something that is no model: it has no id.")
        return found

    async def _wait_for_window(self, seconds: float) -> None:
        if seconds > self._wire.pace.deadline:
            text = f"{host_of(self._base)} wants no more questions for {seconds:.0f} s."
            raise RateLimited(text, retry_after=seconds)
        await self._wire.sleep(seconds)

    async def _asked(self, url: str, model: str | None = None) -> Answer:
        question = Question(method="GET", url=url, secret_free=True, most_bytes=MOST_BYTES)
        answer = await self._wire.ask(question)
        if not answer.is_success:
            raise await self._meant(answer, url, model)
        return answer

    async def _meant(self, answer: Answer, url: str, model: str | None) -> LamplighterError:
        host, token = host_of(url), await self._wire.token_for(url)
        code = answer.headers.get("x-error-code", "")
        if model is not None and code == "GatedRepo":
            text = f"{model} is gated: its owner has to let you in at {host}/{model} first."
            return Forbidden(text)
        if model is not None and (answer.status == 404 or code == "RepoNotFound"):
            return ModelNotFound(f"{host} knows no model {model!r}, or the token may not see it.", model=model)
        return error_for(answer, Asked(host=host, token=token))


def _is_wanted(wanted: ModelFilter, model: ModelRecord) -> bool:
    """What the Hub does not sift itself: the kind of task. What it did sift is not judged again."""
    return replace(ModelFilter(), task=wanted.task).takes(model)
