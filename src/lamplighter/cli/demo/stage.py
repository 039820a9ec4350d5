"""Where the demo is shown: calm lines, and one living line at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.show.output import phase_text, pick
from lamplighter.cli.show.progress import Progress

_LOOK_EVERY = 0.1
_WIDEST = 90


class Stage:
    """Prints on `console`."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def title(self, text: str) -> None:
        """The first line."""
        self.console.print(Text(text, style="bold"))
        self.say("All of it happens on this machine.", style="dim")
        self.console.print()

    def act(self, title: str) -> None:
        """A new part of the story."""
        self.console.print()
        self.console.print(Text(title, style="bold"))

    def say(self, text: str, *, style: str = "") -> None:
        """A line."""
        self.console.print(Padding(Text(text, style=style), (0, 0, 0, 2), expand=False))

    def done(self, text: str) -> None:
        """Something that was reached."""
        mark = pick(self.console, "✓", "ok:")
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(Text(f"  {mark}", style="green"), Text(text))
        self.console.print(line)

    def line_to_copy(self, text: str) -> None:
        """A line as it is, however wide."""
        self.console.print(Text(text), soft_wrap=True)

    def show(self, views: list[EndpointView]) -> None:
        """The endpoints, one a line."""
        width = max(len(view.name) for view in views)
        for view in views:
            name = (view.name.ljust(width), "bold")
            model = (view.model or "", "dim")
            self.console.print(Text.assemble("  ", name, "  ", phase_text(self.console, view.status), "  ", model))

    @asynccontextmanager
    async def watching(self, look: Callable[[], EndpointView]) -> AsyncIterator[None]:
        """Show how an endpoint is while the context lasts."""
        with Progress(self.console, "running", indent=2) as progress:
            task = asyncio.create_task(_show_for_ever(progress, look), name="show progress")
            try:
                yield
            finally:
                task.cancel()
            progress.show(look())

    @asynccontextmanager
    async def living(self, draw: Callable[[], RenderableType]) -> AsyncIterator[None]:
        """Show a picture while the context lasts, on a terminal; drawn on the event loop, where the endpoints live."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            task = asyncio.create_task(_draw_for_ever(live, draw), name="draw")
            try:
                yield
            finally:
                task.cancel()

    def prose(self) -> Prose:
        """A place for an answer that comes word by word."""
        return Prose(self.console)


async def _show_for_ever(progress: Progress, look: Callable[[], EndpointView]) -> None:
    while True:
        progress.show(look())
        await asyncio.sleep(_LOOK_EVERY)


async def _draw_for_ever(live: Live, draw: Callable[[], RenderableType]) -> None:
    while True:
        live.update(draw(), refresh=True)
        await asyncio.sleep(_LOOK_EVERY)


class Prose:
    """Text that comes in pieces, wrapped at words behind a bar."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._edge = f"  {pick(console, '│', '|')} "
        self._room = max(20, min(console.width, _WIDEST) - len(self._edge) - 1)
        self._column = 0
        self._word = ""
        self._begun = False

    def add(self, text: str) -> None:
        """Print what has become whole words."""
        for char in text:
            if char == "\n":
                self._flush()
                self._break()
            elif char.isspace():
                self._flush()
                self._word = " "
            elif char.isprintable():  # a model must not be able to command the terminal
                self._word += char

    def end(self, *, cut: bool = False) -> None:
        """Print the rest, with an ellipsis where the text was `cut` off."""
        self._word = self._word.rstrip() + (pick(self._console, "…", "...") if cut else "")
        self._flush()
        if self._begun:
            self._console.print()

    def _flush(self) -> None:
        word, self._word = self._word, ""
        if not word.strip():
            return
        if self._column and self._column + cell_len(word) > self._room:
            self._break()
        if not self._column:
            self._write(Text(self._edge, style="dim"))
            word = word.lstrip()
        self._write(Text(word))
        self._column += cell_len(word)

    def _break(self) -> None:
        if self._column:
            self._console.print()
            self._column = 0

    def _write(self, text: Text) -> None:
        self._begun = True
        self._console.print(text, end="", soft_wrap=True)
