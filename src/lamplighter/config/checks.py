"""What must fit together across the file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from urllib.parse import urlsplit

from lamplighter.config import elsewhere, route_checks, tariff
from lamplighter.config.document import Document
from lamplighter.config.file import EndpointSettings, File, ServerSettings
from lamplighter.config.problems import Path, Problem, dotted, near
from lamplighter.domain.budgets import EACH
from lamplighter.domain.loopback import is_loopback

ALWAYS_THERE = "local"
ALARMS_EXTRA = "lamplighter[alarms]"


def check(file: File, document: Document) -> Iterator[Problem]:
    """Find what contradicts something else."""
    for path, text in (
        *_exposure(file.server),
        *_names(file),
        *_references(file),
        *elsewhere.complaints(file),
        *_groups(file),
        *_alarms(file, document),
        *route_checks.complaints(file, document),
        *tariff.complaints(file),
    ):
        yield Problem(place=document.place(path), key=dotted(path), text=text)


def _exposure(server: ServerSettings) -> Iterator[tuple[Path, str]]:
    if not server.keys and not is_loopback(server.host):
        text = (
            f"{server.host!r} would let everybody in who can reach this machine. Give `server.keys` (for one: "
            "[env:LAMPLIGHTER_KEY]) or set LAMPLIGHTER_KEYS, or listen on 127.0.0.1"
        )
        yield ("server", "host"), text


def _names(file: File) -> Iterator[tuple[Path, str]]:
    """Each name that clients use leads to one endpoint."""
    owners = {name: ("endpoints", name) for name in file.endpoints}
    taken: dict[str, Path] = dict(owners)
    for name, endpoint in file.endpoints.items():
        for index, alias in enumerate(endpoint.aliases):
            path: Path = ("endpoints", name, "aliases", index)
            if alias in taken:
                yield path, f"{alias!r} is taken by {dotted(taken[alias])}; each name leads to one endpoint"
            taken.setdefault(alias, path)


def _groups(file: File) -> Iterator[tuple[Path, str]]:
    for group, names in file.groups.items():
        if not names:
            yield ("groups", group), "names no endpoint"
        for index, name in enumerate(names):
            if name not in file.endpoints:
                yield ("groups", group, index), f"there is no endpoint {name!r}; {near(name, file.endpoints)}"


def budget_warnings(file: File) -> Iterator[str]:
    """Budgets of what the file does not name: somebody may make an endpoint later, or it is a slip."""
    known = [*file.endpoints, *file.upstreams]
    for name, budget in file.budgets.items():
        wanted = budget.endpoint
        if wanted is None or wanted == EACH or wanted in known:
            continue
        owner = next((one for one, endpoint in file.endpoints.items() if wanted in endpoint.aliases), None)
        hint = near(wanted, known) if owner is None else f"it is an alias; give the name, {owner}"
        yield f"budgets.{name}.endpoint: there is no endpoint or upstream {wanted!r} in this file; {hint}"


def _alarms(file: File, document: Document) -> Iterator[tuple[Path, str]]:
    webhook = file.alarms.webhook
    if webhook is not None and not is_web_url(webhook.reveal()):
        said = document.data.get("alarms")
        place = said.get("webhook") if isinstance(said, dict) else None
        yield ("alarms", "webhook"), f"what {place or 'it'} names is no http:// or https:// URL"
    if file.alarms.urls and not has_apprise():
        yield ("alarms", "urls"), f"need an extra that is not installed: pip install '{ALARMS_EXTRA}'"


def is_web_url(text: str) -> bool:
    """Whether something can be posted there."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def has_apprise() -> bool:
    """Whether what sends alarms to services is installed."""
    return importlib.util.find_spec("apprise") is not None


def _references(file: File) -> Iterator[tuple[Path, str]]:
    known = set(elsewhere.kinds_of(file))
    for name, endpoint in file.endpoints.items():
        path = ("endpoints", name)
        if endpoint.provider not in known:
            yield (*path, "provider"), f"there is no provider {endpoint.provider!r}; {near(endpoint.provider, known)}"
        elif endpoint.provider in file.providers:
            bounds = file.providers[endpoint.provider].resources
            yield from (((*path, "resources", kind), text) for kind, text in _misfits(endpoint, bounds))


def _misfits(endpoint: EndpointSettings, bounds: dict[str, float]) -> Iterator[tuple[str, str]]:
    """What can never be had. A provider that names no resources has no bounds."""
    if not bounds:
        return
    for kind, amount in endpoint.resources.items():
        needed = amount * endpoint.replicas
        if kind not in bounds:
            yield kind, f"the provider {endpoint.provider!r} has no such resource; {near(kind, bounds)}"
        elif needed > bounds[kind]:
            many = f" for {endpoint.replicas} replicas" if endpoint.replicas > 1 else ""
            yield kind, f"{needed:g} are needed{many}, and {endpoint.provider!r} has {bounds[kind]:g} in all"
