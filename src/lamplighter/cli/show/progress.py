"""What a person sees while something takes its time: elapsed, state, and the time that it took before."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.show.output import pick, style
from lamplighter.cli.show.words import one_line, span

_BAR_WIDTH = 24
_LINE_EVERY = 5.0


class Progress(AbstractContextManager["Progress"]):
    """Shows views as they come: one living line on a terminal, anywhere else a line per change of phase.

    `goal` is the phase that is waited for, `indent` a number of columns. The living line disappears at the end.
    Messages without a terminal are told every 5 seconds at most.
    """

    def __init__(
        self, console: Console, goal: str, *, indent: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._goal = goal
        self._indent = indent
        self._clock = clock
        self._spinner = Spinner(pick(console, "dots", "line"), style="yellow")
        self._view: EndpointView | None = None
        self._began = self._seen_at = clock()
        self._told: tuple[str, str | None] | None = None
        self._told_at = float("-inf")
        self._live = living(console, self.picture)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, view: EndpointView) -> None:
        """Show what is now."""
        self._view, self._seen_at = view, self._clock()
        if not self._console.is_terminal:
            self._tell(view)

    def _elapsed(self, view: EndpointView) -> float:
        now = self._clock()
        return now - self._began if view.starting_for is None else view.starting_for + now - self._seen_at

    def picture(self) -> RenderableType:
        """What the living line shows now."""
        view = self._view
        if view is None:
            return Text()
        elapsed = self._elapsed(view)
        line = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [self._spinner, Text(view.name, style="bold")]
        cells.append(Text(view.status, style=style(view.status)))
        if view.status == "starting" and view.expected_start:
            cells.append(bar(elapsed, view.expected_start))
        line.add_row(*cells, Text(timing(view, elapsed), style="dim"))
        said = self._detail(view)
        below = Text(f"  {said}", style="dim", no_wrap=True, overflow="ellipsis")
        return Padding(Group(line, below) if said else line, (0, 0, 0, self._indent))

    def _detail(self, view: EndpointView) -> str | None:
        return None if view.status == self._goal else detail(view)

    def _tell(self, view: EndpointView) -> None:
        now, said = self._clock(), (view.status, self._detail(view))
        new_phase = self._told is None or self._told[0] != view.status
        if said == self._told or (not new_phase and now - self._told_at < _LINE_EVERY):
            return
        self._told, self._told_at = said, now
        text = f"{' ' * self._indent}{view.name} is {view.status}"
        if view.status == "starting" and view.expected_start:
            text += f", which takes about {span(view.expected_start)}"
        self._console.print(Text(f"{text}: {said[1]}" if said[1] else text))


def living(console: Console, draw: Callable[[], RenderableType]) -> Live:
    """A picture that disappears when it is stopped. Not started yet. A thread draws it ten times a second."""
    return Live(console=console, get_renderable=draw, refresh_per_second=10, transient=True)


def bar(elapsed: float, expected: float) -> ProgressBar:
    """How far something is that takes `expected` seconds as a rule. Never full before it is done."""
    completed = min(elapsed, expected * 0.98)
    return ProgressBar(
        total=expected, completed=completed, width=_BAR_WIDTH, complete_style="yellow", finished_style="yellow"
    )


def timing(view: EndpointView, elapsed: float) -> str:
    """Elapsed and expected time in words."""
    if view.status != "starting" or not view.expected_start:
        return span(elapsed)
    if elapsed > view.expected_start:
        return f"{span(elapsed)}, usually {span(view.expected_start)}"
    return f"{span(elapsed)} of about {span(view.expected_start)}"


def detail(view: EndpointView) -> str | None:
    """What there is to add to the phase. How many of one copy are ready goes without saying."""
    if view.message and not (view.state == "initializing" and view.replicas == 1):
        return one_line(view.message)
    return f"held awake by {', '.join(view.held_by)}" if view.held_by else None
