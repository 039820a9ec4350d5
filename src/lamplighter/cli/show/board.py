"""Progress of several endpoints at once, as `Progress` shows that of one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType

from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.show.progress import Progress, living
from lamplighter.hf.records import Endpoint

if TYPE_CHECKING:
    from lamplighter.sdk.client import OnProgress
    from lamplighter.sdk.client import Progress as Step


class Board(AbstractContextManager["Board"]):
    """A living line for each name on a terminal; anywhere else a line for each change of state."""

    def __init__(self, console: Console, goal: str, names: Sequence[str]) -> None:
        self._console = console
        self._lines = {name: Progress(console, goal) for name in names}
        self._live = living(console, self._picture)
        self.seen: dict[str, Endpoint] = {}
        """The last that was heard of each."""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def watcher(self, name: str) -> OnProgress:
        """What a client is to call with the progress of this one."""
        line = self._lines[name]

        def show(step: Step) -> None:
            self.seen[name] = step.endpoint
            line.show(view_of(step))

        return show

    def _picture(self) -> RenderableType:
        return Group(*(line.picture() for line in self._lines.values()))


def view_of(step: Step) -> EndpointView:
    """A step of the SDK as the command line's own progress takes it."""
    endpoint = step.endpoint
    return EndpointView(
        name=endpoint.name,
        status=endpoint.phase.value,
        state=endpoint.state,
        starting_for=step.elapsed,
        expected_start=step.expected,
        replicas=endpoint.status.target_replica,
        message=endpoint.status.error_message or endpoint.status.message,
    )
