"""Durations as callers give them."""

from __future__ import annotations

import math

from lamplighter.errors import InvalidInput


def check_seconds(value: object, field: str, *, most: float = math.inf) -> float:
    """A number of seconds above 0 and up to `most`. Every wait has an end: None is none. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value <= most) or value == math.inf:
        limit = f" and up to {most:g}" if most != math.inf else ""
        raise InvalidInput(f"{field}: {value!r} is not a number of seconds above 0{limit}.", field=field)
    return float(value)
