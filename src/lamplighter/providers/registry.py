"""Providers by their kind: those that come with Lamplighter, and those that plug-ins bring.

A plug-in names a factory in the entry-point group `lamplighter.providers`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from lamplighter.engines.registry import ENGINES
from lamplighter.errors import InvalidInput, LamplighterError
from lamplighter.providers.base import Provider
from lamplighter.providers.market import Marketplace
from lamplighter.providers.shop import Shop
from lamplighter.secrets.sources import Secrets

GROUP = "lamplighter.providers"
_LONGEST_TOLD = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a provider is made from. `data` is a folder of its own; `options` are the configuration's.

    `withheld` are environment variables that hold keys and tokens of this server: what a provider starts must not
    inherit them.
    """

    name: str
    data: Path
    resources: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    withheld: frozenset[str] = frozenset()
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    """Reads what `options` name by its place; its `current` is for what may be renewed meanwhile."""


Factory = Callable[[Site], Provider | Marketplace]


def make_provider(kind: str, site: Site) -> Provider:
    """Make a provider of this kind. Raises InvalidInput for an unknown kind, or options that it does not take."""
    made = _made(kind, site, _BUILT_IN.get(kind) or _plugged_in(kind))
    if hasattr(made, "observe"):
        return cast("Provider", made)
    if isinstance(made, Marketplace):
        return Shop(site.name, made)
    raise InvalidInput(f"type: {kind!r} makes neither a provider nor a marketplace.", field="type")


def _made(kind: str, site: Site, factory: Factory) -> object:
    options = f"providers.{site.name}.options"
    try:
        return factory(site)
    except LamplighterError:
        raise
    except TypeError as error:
        raise InvalidInput(f"{options}: {error}.", field=options) from error
    except Exception as error:
        if kind in _BUILT_IN:
            raise
        text = f"providers.{site.name}: {kind!r} broke as it was made: {type(error).__name__}: {error}"
        raise InvalidInput(text[:_LONGEST_TOLD], field=f"providers.{site.name}") from error


def _plugged_in(kind: str) -> Factory:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    if len(entries := found.get(kind, ())) > 1:
        whose = " and ".join(sorted(map(origin_of, entries)))
        raise InvalidInput(f"type: {kind!r} is a key that {whose} both have: it is not used.", field="type")
    for entry in entries:
        try:
            factory: object = entry.load()
        except (Exception, SystemExit) as error:  # somebody else's code, and it may fail in any way
            text = f"type: {kind!r} of {origin_of(entry)} can't be loaded: {type(error).__name__}: {error}"
            raise InvalidInput(text[:_LONGEST_TOLD], field="type") from error
        if not callable(factory):
            raise InvalidInput(f"type: {kind!r} of {origin_of(entry)} is nothing that makes a provider.", field="type")
        return cast("Factory", factory)
    known = sorted({*_BUILT_IN, *found})
    near = difflib.get_close_matches(kind, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InvalidInput(f"type: {kind!r} is no kind of provider.{hint} Known: {', '.join(known)}.", field="type")


def origin_of(entry: EntryPoint) -> str:
    """The package that brings a plug-in."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _local(site: Site) -> Provider:
    module = importlib.import_module("lamplighter.providers.local")
    with _naming_options(site):
        provider: Provider = module.LocalProvider(
            resources=site.resources,
            state_dir=site.data / "run",
            log_dir=site.data / "logs",
            engines=ENGINES,
            withheld=site.withheld,
            **site.options,
        )
    return provider


def _memory(site: Site) -> Provider:
    module = importlib.import_module("lamplighter.providers.memory")
    with _naming_options(site):
        provider: Provider = module.MemoryProvider(resources=site.resources, **site.options)
    return provider


@contextmanager
def _naming_options(site: Site) -> Iterator[None]:
    """Say whose options are wrong."""
    where = f"providers.{site.name}.options"
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{error.message}", field=f"{where}.{error.field}") from error


def _huggingface(site: Site) -> Provider:
    module = importlib.import_module("lamplighter.providers.huggingface")
    try:
        provider: Provider = module.make_provider(site.options, site.resources, site.secrets)
    except InvalidInput as error:
        where = f"providers.{site.name}.options"
        field = f"{where}.{error.field}" if error.field else where
        raise InvalidInput(f"{where}.{error.message}", field=field) from None
    return provider


_BUILT_IN: Mapping[str, Factory] = {"huggingface": _huggingface, "local": _local, "memory": _memory}
