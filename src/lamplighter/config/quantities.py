"""Durations and sizes as people write them."""

from __future__ import annotations

import math
import re
from decimal import Decimal

NEVER = "never"

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_DURATION_HINT = "should be a number of seconds, or a duration such as 90s, 15m or 1h30m"

_BYTES = {prefix + "b": 1000**power for power, prefix in enumerate(("", "k", "m", "g", "t"))} | {
    prefix + "ib": 1024**power for power, prefix in enumerate(("k", "m", "g", "t"), start=1)
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*((?:[kmgt]i?)?b)")
_SIZE_HINT = "should be a number of bytes, or a size such as 64MB or 64MiB"


def parse_duration(value: object) -> float:
    """Read seconds from a number, "90", "90s", "15m", "1h30m" or "1d". Raises ValueError that tells what is right."""
    seconds = _number(value)
    if seconds is None and isinstance(value, str) and _DURATION.fullmatch(text := value.replace(" ", "").lower()):
        seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text))
    if seconds is None or seconds < 0 or not math.isfinite(seconds):
        raise ValueError(_DURATION_HINT)
    return seconds


def parse_size(value: object) -> int:
    """Read bytes from a number, "64MB" (10^6) or "64MiB" (2^20). Raises ValueError that tells what is right."""
    size = _number(value)
    if size is None and isinstance(value, str) and (match := _SIZE.fullmatch(value.strip().lower())):
        size = float(Decimal(match[1]) * _BYTES[match[2]])
    if size is None or size < 0 or not math.isfinite(size) or size != int(size):
        raise ValueError(_SIZE_HINT)
    return int(size)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return None
    return float(value)
