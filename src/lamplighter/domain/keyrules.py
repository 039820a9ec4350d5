"""What a new key may be like, and a key in one line. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from lamplighter.domain.keys import ApiKey, KeyLimits
from lamplighter.errors import InvalidInput

LONGEST_LIFE = 10 * 366 * 86400.0
"""Of a key that expires (seconds)."""
PRIORITIES = range(-100, 101)

_MOST_ROUTES = 1000
_MOST_TAGS = 50
_LONGEST_TAG = 200
_HIGHEST_LIMIT = 1_000_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}").fullmatch
_LIKE_AN_ID = re.compile(r"[0-9a-f]{8}|[0-9a-f]{12}").fullmatch
_ELSEWHERE = re.compile(r"[^\s/]+/\S{1,200}").fullmatch
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}").fullmatch


def check_new_key(
    name: str,
    *,
    priority: int,
    limits: KeyLimits,
    routes: Collection[str],
    tags: Mapping[str, str],
    expires_in: float | None,
) -> None:
    """Raise InvalidInput that names the field, unless a key can be made of this. `expires_in` is in seconds."""
    if not _NAME(name) or _LIKE_AN_ID(name):
        raise InvalidInput(
            f"name: {name[:80]!r} should be 1 to 64 letters, digits and . _ @ + -, beginning with a letter or digit, "
            "and not look like an id (8 or 12 hexadecimal digits).",
            field="name",
        )
    if priority not in PRIORITIES:
        text = f"priority: {priority} should be from {PRIORITIES[0]} to {PRIORITIES[-1]}."
        raise InvalidInput(text, field="priority")
    if len(routes) > _MOST_ROUTES:
        raise InvalidInput(f"routes: {len(routes)} are too many; {_MOST_ROUTES} at most.", field="routes")
    if expires_in is not None and not 0 < expires_in <= LONGEST_LIFE:
        text = (
            f"expires_in: {_seconds(expires_in)} should be more than 0 and at most {LONGEST_LIFE:.0f} seconds "
            f"({LONGEST_LIFE / 86400:.0f} days), or left out."
        )
        raise InvalidInput(text, field="expires_in")
    _check_limits(limits)
    _check_tags(tags)


def is_elsewhere(name: str) -> bool:
    """Whether a name that nothing has here may be that of a model elsewhere: `organization/model`, as on the Hub."""
    return bool(_ELSEWHERE(name)) and name.isprintable()


def _seconds(value: float) -> str:
    """A number of seconds as people write it: no exponent, where that stays short."""
    whole = f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"
    return f"{whole} seconds ({value / 86400:.0f} days)" if 86400 <= value < 1e15 else whole


def _check_limits(limits: KeyLimits) -> None:
    for field in dataclasses.fields(limits):
        bound = getattr(limits, field.name)
        if bound is not None and not 1 <= bound <= _HIGHEST_LIMIT:
            text = f"limits.{field.name}: {bound} should be from 1 to {_HIGHEST_LIMIT}, or left out for no bound."
            raise InvalidInput(text, field=f"limits.{field.name}")


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > _MOST_TAGS:
        raise InvalidInput(f"tags: {len(tags)} are too many; {_MOST_TAGS} at most.", field="tags")
    for tag, value in tags.items():
        if not _TAG(tag):
            raise InvalidInput(
                f"tags: the name {tag[:80]!r} should be 1 to 63 letters, digits and . _ / -, beginning with a letter "
                "or digit.",
                field="tags",
            )
        if not value.isprintable() or len(value) > _LONGEST_TAG:
            shown = f"{value[:80]!r}{'…' if len(value) > 80 else ''}"
            raise InvalidInput(
                f"tags: the value of {tag!r} should be at most {_LONGEST_TAG} printable characters; {shown} has "
                f"{len(value)}{'' if value.isprintable() else ', and some that are not printable'}.",
                field="tags",
            )


def described(key: ApiKey) -> str:
    """A key in one line, for the record: all but what could open anything."""
    limits = key.limits
    bounds = (
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.concurrent, "at once"),
    )
    parts = [
        f"role {key.role}",
        f"for {', '.join(sorted(key.routes))}" if key.routes else "",
        *(f"{bound} {what}" for bound, what in bounds if bound is not None),
        "" if key.may_wake else "wakes nothing",
        f"priority {key.priority}" if key.priority else "",
        *(f"{tag}={value}" for tag, value in sorted(key.tags.items())),
        "" if key.expires_at is None else f"expires {written(key.expires_at)}",
    ]
    return f"{key.name} ({key.id}): {', '.join(part for part in parts if part)}"


def written(moment: float) -> str:
    """A moment in Unix time as people read it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
