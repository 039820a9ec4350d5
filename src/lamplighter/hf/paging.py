"""Following a listing page by page, to an end that surely comes. Pure."""

from __future__ import annotations

from typing import Any

from lamplighter.errors import ProviderError
from lamplighter.hf.reading import Raw, parts, text, whole

PAGE_SIZE = 100
MOST_PAGES = 1000


class Pages:
    """Collects the items of a listing. `key` tells items apart, so that one that moved between pages counts once.

    Both shapes are read: a bare array, which is all there is, and `{"items": […], "nextCursor": …}`. The listing ends
    without a cursor, with a page that brings nothing new, and with a cursor that was there before. Raises
    ProviderError for what is neither shape, and after MOST_PAGES pages.
    """

    def __init__(self, key: str) -> None:
        self.items: list[Raw] = []
        self._key = key
        self._seen: set[Any] = set()
        self._cursors: set[str] = set()
        self._pages = 0
        self._onward = "nextCursor"

    def take(self, body: Any) -> str | None:
        """Take a page; tells the cursor of the next one, or None at the end."""
        if not isinstance(body, list) and not (isinstance(body, dict) and isinstance(body.get("items"), list)):
            raise ProviderError("The provider answered a listing with something that is no list.")
        self._pages += 1
        new = [item for item in parts(body, "items") if self._is_new(item)]
        self.items += new
        cursor = self._next(body) if isinstance(body, dict) and new else None
        if cursor is None or cursor in self._cursors:
            return None
        if self._pages >= MOST_PAGES:
            raise ProviderError(f"The provider's listing does not end after {MOST_PAGES} pages.")
        self._cursors.add(cursor)
        return cursor

    def _is_new(self, item: Raw) -> bool:
        identity = item.get(self._key)
        if not isinstance(identity, str):
            return True
        known = identity in self._seen
        self._seen.add(identity)
        return not known

    def _next(self, body: Raw) -> str | None:
        """The cursor onward. The API's own description swaps its two cursors: both ways are understood."""
        total = whole(body, "totalItems")
        if self._pages == 1 and not text(body, "nextCursor") and total is not None and total > len(self.items):
            self._onward = "prevCursor"
        return text(body, self._onward)
