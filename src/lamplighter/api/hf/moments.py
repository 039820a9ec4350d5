"""Moments as this API writes them: RFC 3339, UTC, with `Z` at the end (its client takes nothing else)."""

from __future__ import annotations

from datetime import UTC, datetime


def written(moment: float) -> str:
    """Write a Unix time, to the microsecond."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def maybe(moment: float | None) -> str | None:
    """Write a Unix time that may be missing."""
    return None if moment is None else written(moment)


def read(text: str) -> float:
    """Read RFC 3339, or a date alone. One without a zone counts as UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
