"""Whether a wake fits, and what has to be put to sleep first: a pure plan.

Amounts are in the provider's own units (`gpu`, `memory_gb`); a resource that the provider doesn't name is not bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_TOLERANCE = 1e-9  # 0.1 + 0.2 fits into 0.3


@dataclass(frozen=True, slots=True)
class Holder:
    """An endpoint that holds room. `idle_since` is None while it may not be put to sleep for another's sake."""

    name: str
    needs: Mapping[str, float]
    idle_since: float | None = None


@dataclass(frozen=True, slots=True)
class Fits:
    """There is room now."""


@dataclass(frozen=True, slots=True)
class Evict:
    """There is room once these endpoints sleep."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Full:
    """There is no room, and nothing that is idle would make enough; these hold what is short."""

    holders: tuple[str, ...]


Plan = Fits | Evict | Full


def never_fits(total: Mapping[str, float], needs: Mapping[str, float]) -> str | None:
    """Tell which resource can't be had even with everything else asleep; None when all can."""
    for key, amount in needs.items():
        if key in total and amount > total[key] + _TOLERANCE:
            return f"it needs {amount:g} {key}, the provider has {total[key]:g}"
    return None


def plan(total: Mapping[str, float], holders: Sequence[Holder], needs: Mapping[str, float]) -> Plan:
    """Plan room for `needs` beside `holders`.

    Idle endpoints go least recently used first, and no more of them than it takes; none goes if that were not enough.
    """
    short = _shortage(total, holders, needs)
    if not short:
        return Fits()
    remaining = list(holders)
    leaving: list[str] = []
    for holder in sorted((h for h in holders if h.idle_since is not None), key=lambda h: h.idle_since or 0.0):
        if not any(holder.needs.get(key, 0) > 0 for key in short):
            continue
        remaining.remove(holder)
        leaving.append(holder.name)
        short = _shortage(total, remaining, needs)
        if not short:
            return Evict(tuple(leaving))
    lacking = _shortage(total, holders, needs)
    return Full(tuple(h.name for h in holders if any(h.needs.get(key, 0) > 0 for key in lacking)))


def _shortage(total: Mapping[str, float], holders: Iterable[Holder], needs: Mapping[str, float]) -> set[str]:
    held = list(holders)
    return {
        key
        for key, amount in needs.items()
        if key in total and amount > 0 and sum(h.needs.get(key, 0) for h in held) + amount > total[key] + _TOLERANCE
    }
