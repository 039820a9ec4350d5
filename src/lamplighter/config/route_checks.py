"""What must fit together between routes, upstreams and endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lamplighter.config.document import Document
from lamplighter.config.file import File
from lamplighter.config.problems import Path, dotted, near
from lamplighter.config.routes import RouteSettings, TargetSettings
from lamplighter.secrets.places import PLACES, is_place, named_in

Complaint = tuple[Path, str]

_HOLDS_SECRET = re.compile(r"(.+-)?(authorization|token|key|apikey|secret|cookie)", re.IGNORECASE).fullmatch
_LITERAL = (
    'holds a secret, which does not belong into this file: take it from the environment, as in "Bearer ${NAME}", '
    f"or name its place ({PLACES})"
)


def complaints(file: File, document: Document) -> Iterator[Complaint]:
    """What is wrong with the names of routes and upstreams, and with where routes lead."""
    named = _Named(file, document)
    yield from _upstreams(named)
    yield from _literal_secrets(document)
    yield from _names(file)
    for name, route in file.routes.items():
        found = (
            *_targets(name, route, named),
            *_duplicates(route),
            *_waiting(route),
            *_renting(route, named),
            *_choosing(route),
        )
        yield from ((("routes", name, *path), text) for path, text in found)


class _Named:
    """The names that a route may lead to. Those of entries with mistakes count, so that nothing else is blamed."""

    def __init__(self, file: File, document: Document) -> None:
        self.endpoints = {*file.endpoints, *_keys(document.data.get("endpoints"))}
        self.upstreams = {*file.upstreams, *_keys(document.data.get("upstreams"))}
        self.routes = {*file.routes, *_keys(document.data.get("routes"))}
        self.aliases = {alias: name for name, one in file.endpoints.items() for alias in one.aliases}


def _keys(section: Any) -> set[str]:
    return set(section) if isinstance(section, dict) else set()


def _upstreams(named: _Named) -> Iterator[Complaint]:
    for name in sorted(named.upstreams & named.endpoints):
        yield ("upstreams", name), f"{name!r} is the name of an endpoint, too; call one of them otherwise"


def _literal_secrets(document: Document) -> Iterator[Complaint]:
    """Secrets that stand in the file itself, as the values of headers that are there to hold one."""
    upstreams = document.data.get("upstreams")
    for name, upstream in upstreams.items() if isinstance(upstreams, dict) else ():
        headers = upstream.get("headers") if isinstance(upstream, dict) else None
        for header, value in headers.items() if isinstance(headers, dict) else ():
            if isinstance(value, str) and _HOLDS_SECRET(header) and _is_literal(value):
                yield ("upstreams", name, "headers", header), _LITERAL


def _is_literal(value: str) -> bool:
    return bool(value.strip()) and not is_place(value) and not any(named_in(value))


def _names(file: File) -> Iterator[Complaint]:
    """Each name that clients use leads to one place; a route may take the place of the endpoint of its own name."""
    taken: dict[str, Path] = {name: ("endpoints", name) for name in file.endpoints}
    for name, endpoint in file.endpoints.items():
        taken.update((alias, ("endpoints", name, "aliases", index)) for index, alias in enumerate(endpoint.aliases))
    for name in file.routes:
        owner = taken.get(name)
        if owner is not None and owner != ("endpoints", name):
            yield ("routes", name), f"{name!r} is taken by {dotted(owner)}; each name leads to one place"
        taken[name] = ("routes", name)
    for name, route in file.routes.items():
        for index, alias in enumerate(route.aliases):
            path: Path = ("routes", name, "aliases", index)
            if alias in taken:
                yield path, f"{alias!r} is taken by {dotted(taken[alias])}; each name leads to one place"
            taken.setdefault(alias, path)


def _placed(route: RouteSettings) -> Iterator[tuple[Path, TargetSettings]]:
    """Each target of a route, with its path below it."""
    for index, (given, tier) in enumerate(zip(route.targets, route.tiers(), strict=True)):
        for inner, target in enumerate(tier):
            yield ("targets", index, *((inner,) if isinstance(given, tuple) else ())), target


def _targets(name: str, route: RouteSettings, named: _Named) -> Iterator[Complaint]:
    for path, target in _placed(route):
        if target.endpoint is not None:
            kind, known = "endpoint", named.endpoints
        elif target.upstream is not None:
            kind, known = "upstream", named.upstreams
        else:
            kind, known = "endpoint or upstream", named.endpoints | named.upstreams
        if target.leads_to not in known:
            yield path, _unknown(target.leads_to, kind, known, name, named)


def _unknown(wanted: str, kind: str, known: set[str], route: str, named: _Named) -> str:
    if wanted in named.routes:
        itself = "itself" if wanted == route else f"the route {wanted!r}"
        return f"leads to {itself}; a route leads to endpoints and upstreams alone"
    if wanted in named.aliases:
        return f"{wanted!r} is an alias; write {named.aliases[wanted]}"
    return f"there is no {kind} {wanted!r}; {near(wanted, known)}"


def _duplicates(route: RouteSettings) -> Iterator[Complaint]:
    seen: dict[tuple[str, str | None], Path] = {}
    for path, target in _placed(route):
        first = seen.setdefault((target.leads_to, target.model), path)
        if first != path:
            yield (
                path,
                f"{target.leads_to!r} stands in {dotted(first)} already; another `model` would make a difference",
            )


def _waiting(route: RouteSettings) -> Iterator[Complaint]:
    bridges = route.while_waking == "bridge"
    if bridges and len(list(_placed(route))) < 2:
        yield ("while_waking",), "needs a second target that answers meanwhile"
    if "bridge_after" in route.model_fields_set and not bridges:
        yield ("bridge_after",), "does nothing without `while_waking: bridge`"
    if bridges and route.deadline is not None and route.bridge_after >= route.deadline:
        yield ("bridge_after",), f"is not shorter than the deadline, {route.deadline:g} s: nobody would be bridged"


def _renting(route: RouteSettings, named: _Named) -> Iterator[Complaint]:
    """There has to be something to wake, and something to rent in its stead."""
    if not route.rent:
        return
    names = [target.leads_to for _, target in _placed(route)]
    if not any(name in named.endpoints for name in names) or not any(name in named.upstreams for name in names):
        yield ("rent",), "needs an endpoint to wake and an upstream to rent among the targets"
    elif not any(target.leads_to in named.endpoints for target in route.tiers()[0]):
        yield ("rent",), f"does nothing while an upstream comes first, {names[0]!r}: put the endpoint before it"


def _choosing(route: RouteSettings) -> Iterator[Complaint]:
    if route.choose != "cheapest":
        return
    if len(list(_placed(route))) < 2:
        yield ("choose",), "needs a second target to choose from"
    if route.rent:
        yield ("choose",), "decides about every wake already; leave out `rent`"
