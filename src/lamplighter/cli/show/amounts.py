"""Amounts as the answers have them, and for people."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

KINDS: Final = ("cold_start", "serving", "idle", "by_use")
"""What costs go into, in the order in which it happens."""

_LEAST = Decimal("0.0001")
_FEW = Decimal(1)


def amount(line: Mapping[str, Any], name: str) -> Decimal | None:
    """A member of an answer's line; None where it is null, or can't be read."""
    value = line.get(name)
    try:
        found = None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def shown(dollars: Decimal | None) -> str | None:
    """For people: cents from a dollar on, four figures below."""
    if dollars is None:
        return None
    sign, size = ("-" if dollars < 0 else ""), abs(dollars)
    if size == 0:
        return "$0.00"
    if size < _LEAST:
        return f"{sign}<${_LEAST}"
    return f"{sign}${size:,.4f}" if size < _FEW else f"{sign}${size:,.2f}"
