"""Reading JSON that somebody else wrote: each part is taken if it is of the right kind, else its default is."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Raw = Mapping[str, Any]
NOTHING: Raw = {}


def part(raw: Raw, key: str) -> Raw:
    """The object under `key`, or an empty one."""
    value = raw.get(key)
    return value if isinstance(value, dict) else NOTHING


def text(raw: Raw, key: str) -> str | None:
    """The text under `key`; None where it is empty, or no text."""
    value = raw.get(key)
    return value if isinstance(value, str) and value else None


def whole(raw: Raw, key: str) -> int | None:
    """The whole number under `key`; `2.0` is one, `true` is none."""
    value = raw.get(key)
    if type(value) is int:
        return value
    if isinstance(value, Decimal):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def amount(raw: Raw, key: str) -> float | None:
    """The finite number under `key`."""
    value = raw.get(key)
    if isinstance(value, Decimal):
        value = float(value)  # what is too large becomes infinity
    if type(value) is int or isinstance(value, float):
        return float(value) if abs(value) < 1e300 else None  # NaN and infinity are not below it either
    return None


def flag(raw: Raw, key: str) -> bool | None:
    """The truth value under `key`."""
    value = raw.get(key)
    return value if isinstance(value, bool) else None


def texts(raw: Raw, key: str) -> tuple[str, ...]:
    """The texts in the list under `key`; what is no text is left out."""
    value = raw.get(key)
    if not value or not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, str))


def parts(raw: Any, key: str) -> list[Raw]:
    """The objects in the list under `key`, or in `raw` where that is the list itself."""
    value = raw if isinstance(raw, list) else raw.get(key) if isinstance(raw, Mapping) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string_map(raw: Raw, key: str) -> Mapping[str, str]:
    """The texts in the object under `key`, by name; what is no text is left out."""
    value = raw.get(key)
    if not value or not isinstance(value, dict):
        return {}
    return {name: item for name, item in value.items() if isinstance(item, str)}
