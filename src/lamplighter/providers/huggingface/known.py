"""What is remembered of one endpoint between two looks."""

from __future__ import annotations

from lamplighter.domain.endpoint import Spec, State
from lamplighter.hf.forms import Changes
from lamplighter.hf.records import Endpoint
from lamplighter.providers.huggingface.places import Place

Mark = tuple[str, str | None, str | None]

EARLY = 0.75
"""A look that comes before this share of the usual time has a reason: somebody found the endpoint not answering."""


class Known:
    """`place` is None until it was found. `known_ready` spares the endpoint our questions: they would count as use."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.place: Place | None = None
        self.unmade = State.SCALED_TO_ZERO  # the way of being asleep that it was told before it was made
        self.doubted_until: float | None = None  # no answer came to its making: it may yet come, until then
        self.unsure = False  # a change got no clear answer: what the provider has may not be this spec
        self._ready: Mark | None = None
        self._looked_at = float("-inf")
        self._warned: Changes | None = None
        self._refusal: str | None = None

    def take(self, spec: Spec) -> None:
        """Take another spec; another endpoint may be meant by it."""
        if not spec.same_place(self.spec):
            self.place = None
            self._ready = None
        self.spec = spec

    def begin_look(self, now: float, every: float) -> None:
        """Forget that it was ready when somebody asks sooner than usual."""
        if now - self._looked_at < EARLY * every:
            self._ready = None
        self._looked_at = now

    def known_ready(self, endpoint: Endpoint) -> bool:
        """Whether it was ready as it is now: same state, same update, same address."""
        return self._ready == _mark(endpoint)

    def note_ready(self, endpoint: Endpoint, *, ready: bool) -> None:
        """Remember what its health route said."""
        self._ready = _mark(endpoint) if ready else None

    def is_news(self, missing: Changes | None) -> bool:
        """Whether to warn that it runs without this backstop: once for each."""
        news, self._warned = missing != self._warned and missing is not None, missing
        return news

    def is_news_refusal(self, text: str) -> bool:
        """Whether to warn that the endpoint refuses our token: once for each reason."""
        news, self._refusal = text != self._refusal, text
        return news


def _mark(endpoint: Endpoint) -> Mark:
    return endpoint.state, endpoint.status.updated_at, endpoint.url
