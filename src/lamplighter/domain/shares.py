"""Whole numbers divided so that the parts sum to the whole."""

from __future__ import annotations

from collections.abc import Sequence


def divide(whole: int, weights: Sequence[int]) -> list[int]:
    """Divide `whole` in proportion to `weights` (none of them negative), by largest remainder.

    Each part is the exact one rounded down or up; those with the largest remainders get what is left, of equal ones the
    first. Raises ValueError where there is something to divide and nothing to divide it by.
    """
    total = sum(weights)
    if not total:
        if whole:
            raise ValueError(f"{whole} can't be divided: all {len(weights)} weights are 0")
        return [0] * len(weights)
    if len(weights) == 1:
        return [whole]
    if not whole:
        return [0] * len(weights)
    parts, remainders = [], []
    for weight in weights:
        part, remainder = divmod(whole * weight, total)
        parts.append(part)
        remainders.append(remainder)
    left = whole - sum(parts)
    if not left:
        return parts
    for index in sorted(range(len(weights)), key=lambda one: -remainders[one])[:left]:
        parts[index] += 1
    return parts
