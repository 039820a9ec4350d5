"""The names that clients use: each endpoint's own, and its aliases."""

from __future__ import annotations

from collections.abc import Sequence

from lamplighter.domain.endpoint import Spec


class Names:
    """Tells the endpoint behind a name. What is learnt last wins."""

    def __init__(self) -> None:
        self.targets: dict[str, str] = {}
        """Endpoints by name; always the same object."""

    def learn(self, spec: Spec) -> None:
        """Take the names of a spec; those that it does not have any more are forgotten."""
        self.forget(spec.name)
        self.targets.update(dict.fromkeys(names_of(spec), spec.name))

    def forget(self, endpoint: str) -> None:
        for name in [name for name, target in self.targets.items() if target == endpoint]:
            del self.targets[name]

    def taken(self, spec: Spec) -> str | None:
        """One of a spec's names that leads to another endpoint; None if there is none."""
        return next((name for name in names_of(spec) if self.targets.get(name, spec.name) != spec.name), None)


def names_of(spec: Spec) -> Sequence[str]:
    """The aliases of an endpoint, and its own name."""
    return (*spec.aliases, spec.name)
