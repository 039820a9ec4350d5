"""What a configuration names as the places of secrets, without reading any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lamplighter.config.document import Document
from lamplighter.config.problems import Path, dotted
from lamplighter.config.values import variables_in
from lamplighter.secrets import token_source
from lamplighter.secrets.places import is_place, named_in

_HOLD_SECRETS = ("server", "alarms", "providers", "upstreams")
"""Sections where a whole value may be a place."""
_SUBSTITUTED = ("env", "headers", "deployment", "base_url")
"""Keys below which `${…}` is replaced."""
_ENV = "env:"
_NAME_PLACES = (token_source.VARIABLE, "VAULT_TOKEN", "VAULT_SECRET_ID")


def places_of(document: Document) -> Iterator[tuple[str, str]]:
    """Each place, by the dotted key that it stands under; of several in one text the last."""
    for path, text in _texts(document.data, ()):
        if path[0] in _HOLD_SECRETS and is_place(text):
            yield dotted(path), text.strip()
        elif not {*_SUBSTITUTED}.isdisjoint(path):
            yield from ((dotted(path), name) for name in named_in(text) if is_place(name))


def variables_of(document: Document, environ: Mapping[str, str]) -> frozenset[str]:
    """The environment variables that hold secrets: those named as places, and those in the headers of upstreams."""
    places = [*(place for _, place in places_of(document)), *(environ.get(name, "").strip() for name in _NAME_PLACES)]
    named = {place.removeprefix(_ENV).strip() for place in places if place.startswith(_ENV)}
    headers = (text for path, text in _texts(document.data, ()) if path[0] == "upstreams" and "headers" in path)
    return frozenset(named.union(*map(variables_in, headers)))


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text of a document, with its path."""
    if isinstance(value, str) and path:
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))
