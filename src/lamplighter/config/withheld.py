"""What of a configuration is shown of values that may hold secrets: their places, and nothing else. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lamplighter.secrets.places import BRACED, FilePlace, is_place, parse_place

HIDDEN = "[not shown]"
_REST = "…"

_HARMLESS = frozenset(
    {
        "accelerator",
        "framework",
        "instance_size",
        "instance_type",
        "namespace",
        "region",
        "repository",
        "task",
        "vendor",
    }
)
"""Keys below what may hold anything (`options`, `deployment`) whose values are known to be no secrets."""
_FREE = frozenset({"env", "headers", "secrets"})
"""Keys below which people choose the names."""
_TELLING = re.compile(r"auth|cred|key|pass|pin|pwd|secret|token", re.IGNORECASE)
_FLAG = re.compile(r"--[a-z][a-z0-9-]*|-[A-Za-z]")
_AMOUNT = re.compile(r"[0-9]{1,7}")
_USER = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)


def shown(value: object, path: Sequence[str | int], *, may_be_place: bool) -> str:
    """A value, as it is written, that may be a secret.

    `may_be_place`: where it stands a whole value is read as a place. Else, in an engine's variables, all may be secret.
    """
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}" if may_be_place and not _TELLING.search(name) else HIDDEN
    if not isinstance(value, str):
        return HIDDEN
    if may_be_place and (place := _place(value)):
        return place
    if BRACED.search(value) and (named := _named(value)):
        return named
    is_harmless = name in _HARMLESS and _FREE.isdisjoint(path) and not is_place(value)
    return without_query(value) if is_harmless else HIDDEN


def shown_keys(values: object) -> str:
    """The keys of this server, as they are written: their places; digests are only counted."""
    given = [str(one) for one in values] if isinstance(values, list | tuple | frozenset) else []
    places = [place for one in given if (place := _place(one))]
    rest = len(given) - len(places)
    digests = [f"{rest} {'digest' if rest == 1 else 'digests'}"] if rest else []
    return ", ".join([*places, *digests]) or "none"


def shown_words(words: Sequence[str], *, command: bool) -> str:
    """The words of a command line: what is run, its flags and amounts. Any other word may be anything."""
    told: list[str] = []
    for index, word in enumerate(words):
        amount = _AMOUNT.fullmatch(word) and not (index and _TELLING.search(words[index - 1]))
        plain = (command and index == 0) or _FLAG.fullmatch(word) or amount
        if plain:
            told.append(without_query(word))
        elif not told or told[-1] != _REST:
            told.append(_REST)
    return " ".join(told) or "none"


def without_query(text: str) -> str:
    """A text without what of an address could let somebody in: its user, what stands behind its path."""
    if "://" not in text and not text.startswith("/"):
        return text
    return _QUERY.sub(f"?{_REST}", _USER.sub(f"{_REST}@", text))


def _place(text: str) -> str | None:
    """The place that a text is; None for one that is none, or that might hold a secret itself."""
    try:
        place = parse_place(text)
    except ValueError:
        return None
    if place is None or (isinstance(place, FilePlace) and re.search(r"[?@#]|//", text)):
        return None
    return str(place)


def _named(text: str) -> str:
    """What of a text is taken from elsewhere. Empty for nothing."""
    parts: list[str] = []
    end = 0
    for match in BRACED.finditer(text):
        if match[1]:
            continue
        if match.start() > end:
            parts.append(_REST)
        parts.append(match[0])
        end = match.end()
    return " ".join([*parts, _REST] if parts and end < len(text) else parts)


def inside(written: object, key: str | int) -> object:
    """What is written under a key or at a position; None where that is nothing."""
    if isinstance(written, Mapping):
        return written.get(key)
    if isinstance(written, list | tuple) and isinstance(key, int) and key < len(written):
        return written[key]
    return None
