"""Reading what a configuration says of a simulated provider. Every error begins with the option's name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from lamplighter.errors import InvalidInput


def number(where: str, value: object, *, least: float = 0.0) -> float:
    """A finite number that is not below `least`. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise InvalidInput(f"{where}: {value!r} is no number from {least:g} on.", field=where)
    return float(value)


def whole(where: str, value: object, *, least: int = 0) -> int:
    """A whole number that is not below `least`. Raises InvalidInput."""
    found = number(where, value, least=least)
    if found != int(found):
        raise InvalidInput(f"{where}: {value!r} is no whole number.", field=where)
    return int(found)


def text(where: str, value: object) -> str:
    """A text that is not empty. Raises InvalidInput."""
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where}: {value!r} is no text.", field=where)
    return value


def address(where: str, value: object) -> str:
    """Where requests go. Raises InvalidInput."""
    found = text(where, value)
    if not found.startswith(("http://", "https://")):
        raise InvalidInput(f"{where}: {found!r} is no address; it begins with http:// or https://.", field=where)
    return found.rstrip("/")


def flag(where: str, value: object) -> bool:
    """Raises InvalidInput for anything but true and false."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{where}: {value!r} is neither true nor false.", field=where)
    return value


def wrong(where: str, value: object, kind: str, known: Iterable[str]) -> InvalidInput:
    """What to say of a word that is none of those known."""
    words = list(known)
    near = difflib.get_close_matches(str(value), words, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InvalidInput(f"{where}: {value!r} is no {kind}.{hint} Known: {', '.join(words)}.", field=where)
