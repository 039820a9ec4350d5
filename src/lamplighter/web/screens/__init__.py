"""The screens of the page: a folder each, with `screen.js` that draws it and, if it needs one, `screen.css`."""

from __future__ import annotations

from dataclasses import dataclass

from lamplighter.domain.keys import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """One of the page's screens: `folder` here, `title` in the navigation, and its address.

    `path` may end in a parameter, as in `/endpoint/{name}`; such a screen is reached from others and stands in no
    navigation. `role` is what a visitor needs to see it.
    """

    folder: str
    title: str
    path: str
    role: Role = Role.OPERATE

    @property
    def prefix(self) -> str | None:
        """What its addresses begin with, where they have a parameter."""
        head, brace, _ = self.path.partition("{")
        return head if brace else None

    def holds(self, path: str) -> bool:
        """Whether an address is one of this screen's."""
        prefix = self.prefix
        return path == self.path if prefix is None else path.startswith(prefix) and len(path) > len(prefix)


SCREENS: tuple[Screen, ...] = (
    Screen(folder="endpoints", title="Endpoints", path="/"),
    Screen(folder="endpoint", title="Endpoint", path="/endpoint/{name}"),
    Screen(folder="costs", title="Costs", path="/costs"),
    Screen(folder="market", title="Marketplace", path="/market"),
    Screen(folder="playground", title="Playground", path="/playground"),
    Screen(folder="activity", title="Activity", path="/activity"),
    Screen(folder="keys", title="Keys", path="/keys", role=Role.ADMIN),
    Screen(folder="settings", title="Settings", path="/settings", role=Role.ADMIN),
)
"""All of them, in the order of the navigation."""


def screen_at(path: str) -> Screen | None:
    """The screen at an address; None where there is none."""
    return next((screen for screen in SCREENS if screen.holds(path)), None)
