"""What is asked of a catalogue of models, and the pages that come back. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lamplighter.domain.inference import is_model_name
from lamplighter.domain.offers import ModelRecord
from lamplighter.domain.tasks import is_of
from lamplighter.errors import InvalidInput

MOST_PER_PAGE = 100
LONGEST_CURSOR = 2000

SORTS = ("downloads", "likes", "trending", "created", "modified")
"""What a listing can be sorted by, the most or the newest first."""

_NAME = re.compile(r"[A-Za-z0-9][\w .+:/@-]{0,199}").fullmatch
_NAMES = ("id", "search", "author", "task", "license", "provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFilter:
    """What is wanted. None, or False: anything.

    `id` is a whole name, `search` a part of one, `author` whose it is. `task` is one of the Hub's, or a kind (text,
    image, audio, …). `provider` serves it; `served`: somebody does. `license` is a word such as `apache-2.0`. `limit`
    bounds a page, at most 100. `cursor` goes on after a page, as that told. Raises InvalidInput.
    """

    id: str | None = None
    search: str | None = None
    author: str | None = None
    task: str | None = None
    license: str | None = None
    provider: str | None = None
    served: bool = False
    sort: str | None = None
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        for field in _NAMES:
            value = getattr(self, field)
            if value is not None and not _NAME(value):
                shown = repr(value if len(value) <= 80 else value[:79] + "…")
                text = f"{field}: {shown} should be a name: letters, digits and . _ - + / : @, at most 200"
                raise InvalidInput(text, field=field)
        if self.id is not None and not is_model_name(self.id):
            raise InvalidInput(f"id: {self.id[:80]!r} is no name of a model", field="id")
        if self.sort is not None and self.sort not in SORTS:
            raise InvalidInput(f"sort: {self.sort[:80]!r} is none; known are {', '.join(SORTS)}", field="sort")
        if not 1 <= self.limit <= MOST_PER_PAGE:
            raise InvalidInput(f"limit: {self.limit} should be from 1 to {MOST_PER_PAGE}", field="limit")
        if self.cursor is not None and (len(self.cursor) > LONGEST_CURSOR or not self.cursor.isprintable()):
            raise InvalidInput("cursor: this is none that a page told; leave it out to begin anew", field="cursor")

    def takes(self, model: ModelRecord) -> bool:
        """Whether a model is wanted, as far as its record tells: for catalogues that can't sift themselves."""
        return all(
            (
                self.id is None or model.id.lower() == self.id.lower(),
                self.search is None or self.search.lower() in model.id.lower(),
                self.author is None or model.id.partition("/")[0].lower() == self.author.lower(),
                self.task is None or is_of(model.task, self.task),
                self.license is None or (model.license or "").lower() == self.license.lower(),
                self.provider is None or any(one.provider == self.provider for one in model.providers),
                not self.served or bool(model.providers),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """Some models, and the cursor of the next page; None on the last one."""

    models: tuple[ModelRecord, ...]
    next: str | None = None
