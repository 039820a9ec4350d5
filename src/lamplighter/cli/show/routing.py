"""Routes for people: where each leads, and which of its targets are left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from lamplighter.cli.show.words import one_line

Route = Mapping[str, Any]

_BREAKERS = {
    "open": "open: it goes on failing, and gets no requests",
    "half-open": "half-open: it has failed, and single requests try it out",
}


def breaker_words(breaker: str | None) -> str | None:
    """What a breaker means for requests; None where it is closed or was never asked."""
    return _BREAKERS.get(breaker or "")


def about(routes: Sequence[Route], name: str) -> list[Route]:
    """The routes of this name or alias, else those that lead to a target of this name."""
    named = [route for route in routes if name == route.get("name") or name in (route.get("aliases") or ())]
    return named or [route for route in routes if any(target.get("name") == name for target in _targets(route))]


def targets_of(routes: Sequence[Route]) -> set[str]:
    """The names of all targets."""
    return {str(target.get("name")) for route in routes for target in _targets(route)}


def troubled(routes: Sequence[Route]) -> list[Route]:
    """Those that have a target which is left alone."""
    return [route for route in routes if any(breaker_words(target.get("breaker")) for target in _targets(route))]


def lines(routes: Sequence[Route]) -> list[Text]:
    """A line for each route, and one for each of its targets that is left alone."""
    return [line for route in routes for line in _lines(route)]


def _lines(route: Route) -> list[Text]:
    targets = _targets(route)
    led = ", ".join(f"{_name(one)}{' (upstream)' if one.get('kind') == 'upstream' else ''}" for one in targets)
    head = Text.assemble((_name(route), "bold"), f" is a route to {led}")
    if aliases := route.get("aliases"):
        head.append(f"; also called {one_line(', '.join(map(str, aliases)))}")
    told = [(one, breaker_words(one.get("breaker"))) for one in targets]
    return [head, *(Text(f"  {_name(one)}: its breaker is {words}", style="yellow") for one, words in told if words)]


def _targets(route: Route) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = route.get("targets") or ()
    return found


def _name(what: Mapping[str, Any]) -> str:
    return one_line(str(what.get("name", "")))
