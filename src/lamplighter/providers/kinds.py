"""What kinds of provider there are, where each comes from, and what it can do; nothing is made or asked for that.

A plug-in's factory may say so itself: `abilities`, an `Abilities`, and `missing()`, which returns what has to be there
before it can be used. A class that says nothing is judged by its methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lamplighter.errors import LamplighterError
from lamplighter.hf.token import cloud_token_missing, find_cloud_token
from lamplighter.providers.registry import GROUP, origin_of

BUILT_IN = "built in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a kind of provider can do.

    `deploys`: endpoints are made there over the management API. `sleeps`: it wakes endpoints and puts them to sleep.
    The others are those of a marketplace.
    """

    deploys: bool = False
    sleeps: bool = False
    lists_models: bool = False
    prices: bool = False
    runs_inference: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """One kind. `origin` is `built in`, or the package that brings it. `missing` is what has to be there for its use.

    `abilities` None: they can't be told. `trouble` says why a plug-in is of no use as it is.
    """

    key: str
    origin: str
    abilities: Abilities | None = None
    missing: tuple[str, ...] = ()
    trouble: str | None = None


def provider_kinds() -> list[ProviderKind]:
    """All that there are, those that come along first. A plug-in that can't be loaded is told with its reason."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    twice = _twice(entry.name for entry in found)
    return [*_built_in(), *(_plugged_in(entry, doubled=entry.name in twice) for entry in found)]


def _built_in() -> Iterable[ProviderKind]:
    for key, (abilities, missing) in _KNOWN.items():
        yield ProviderKind(key=key, origin=BUILT_IN, abilities=abilities, missing=tuple(missing()))


def _plugged_in(entry: EntryPoint, *, doubled: bool) -> ProviderKind:
    origin = origin_of(entry)
    if entry.name in _KNOWN or doubled:
        whose = "comes with Lamplighter" if entry.name in _KNOWN else "another package has, too"
        return ProviderKind(key=entry.name, origin=origin, trouble=f"its key is one that {whose}: it is not used")
    try:
        factory = entry.load()
        if not callable(factory):
            return ProviderKind(key=entry.name, origin=origin, trouble="it is nothing that makes a provider")
        return ProviderKind(
            key=entry.name, origin=origin, abilities=_abilities_of(factory), missing=tuple(_missing_of(factory))
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is somebody else's code, and may fail in any way
        reason = f"it can't be loaded: {type(error).__name__}: {error}"
        return ProviderKind(key=entry.name, origin=origin, trouble=reason[:300])


def _abilities_of(factory: Any) -> Abilities | None:
    said = getattr(factory, "abilities", None)
    if isinstance(said, Abilities):
        return said
    if not isinstance(factory, type):
        return None
    has = {name: callable(getattr(factory, name, None)) for name in _METHODS}
    return Abilities(
        sleeps=has["wake"] and has["sleep"],
        lists_models=has["list_models"],
        prices=has["get_pricing"],
        runs_inference=has["run_inference"],
    )


def _missing_of(factory: Any) -> Iterable[str]:
    missing = getattr(factory, "missing", None)
    return [str(one) for one in missing()] if callable(missing) else []


def _twice(names: Iterable[str]) -> set[str]:
    seen, twice = set[str](), set[str]()
    for name in names:
        (twice if name in seen else seen).add(name)
    return twice


def _token_missing() -> Iterable[str]:
    try:
        return [] if find_cloud_token() is not None else [cloud_token_missing().message]
    except LamplighterError as error:
        return [error.message]


def _nothing() -> Iterable[str]:
    return ()


_METHODS = ("wake", "sleep", "list_models", "get_pricing", "run_inference")
_KNOWN: Mapping[str, tuple[Abilities, Callable[[], Iterable[str]]]] = {
    "huggingface": (
        Abilities(deploys=True, sleeps=True, lists_models=True, prices=True, runs_inference=True),
        _token_missing,
    ),
    "local": (Abilities(deploys=True, sleeps=True), _nothing),
    "memory": (Abilities(deploys=True, sleeps=True), _nothing),
}
