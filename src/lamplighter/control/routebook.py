"""The configured routes as people are told of them, with how each target does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lamplighter.control.alarms import Breakers, NoBreakers
from lamplighter.domain.routing import Route


@dataclass(slots=True, kw_only=True)
class RouteBook:
    """Belongs to the event loop. `breakers` is asked whenever somebody looks."""

    breakers: Breakers = field(default_factory=NoBreakers)
    routes: Sequence[Route] = ()
    """By name."""
    _upstreams: frozenset[str] = frozenset()

    def take(self, routes: Mapping[str, Route], upstreams: Collection[str]) -> None:
        """Take those of another configuration."""
        self.routes = tuple(routes[name] for name in sorted(routes))
        self._upstreams = frozenset(upstreams)

    def is_upstream(self, target: str) -> bool:
        """Whether a target is an upstream, and no endpoint."""
        return target in self._upstreams

    def about(self, name: str) -> Iterable[Route]:
        """The routes of this name, and those that have a target of it."""
        return (route for route in self.routes if route.name == name or any(one.name == name for one in route.targets))
