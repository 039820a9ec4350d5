"""Listings in pages. A cursor names the item that it was made at: what comes and goes meanwhile skips nothing."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lamplighter.errors import InvalidInput

DEFAULT_LIMIT = 20

_AFTER, _BEFORE = ">", "<"


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, and the cursors of the pages after and before it; None where there is none."""

    items: Sequence[str]
    after: str | None = None
    before: str | None = None


def page_of(names: Sequence[str], cursor: str | None, limit: int | None) -> Page:
    """A page of sorted names; all of them where neither a cursor nor a limit is given. Raises InvalidInput."""
    if cursor is None and limit is None:
        return Page(names)
    size = limit or DEFAULT_LIMIT
    start = 0
    if cursor is not None:
        side, name = _read(cursor)
        start = bisect_right(names, name) if side == _AFTER else max(0, bisect_left(names, name) - size)
    items = names[start : start + size]
    end = start + len(items)
    return Page(
        items,
        after=_write(_AFTER, items[-1]) if items and end < len(names) else None,
        before=_write(_BEFORE, items[0]) if items and start > 0 else None,
    )


def _write(side: str, name: str) -> str:
    return base64.urlsafe_b64encode(f"{side}{name}".encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[str, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    if text[:1] not in {_AFTER, _BEFORE}:
        raise InvalidInput("cursor: take it from `nextCursor` or `prevCursor` of a page.", field="cursor")
    return text[:1], text[1:]
