"""Fetching the demo's model, with a bar."""

from __future__ import annotations

import re

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lamplighter.cli.demo.settings import MODEL
from lamplighter.cli.demo.stage import Stage
from lamplighter.cli.show.progress import living
from lamplighter.engines.models import ModelStore

_PERCENT = re.compile(r"\((\d+) %\)")


def fetch(stage: Stage) -> None:
    """Bring the model here, unless it is. Raises EngineError."""
    line = Line()
    live = living(stage.console, line.draw)

    def progress(text: str) -> None:
        if not line.text:
            stage.say(f"Fetching {MODEL}, once: it stays on this machine.")
            if stage.console.is_terminal:
                live.start()
        line.text = text

    try:
        path = ModelStore().resolve(MODEL, progress)
    finally:
        live.stop()
    stage.done(f"The model is here: {MODEL}, {path.stat().st_size / 1e6:.0f} MB, Apache-2.0")


class Line:
    """The latest word of a download, with a bar where it tells percents."""

    def __init__(self) -> None:
        self.text = ""

    def draw(self) -> Table:
        """The line as it is now."""
        grid = Table.grid(padding=(0, 1))
        percent = _PERCENT.search(self.text)
        words = Text(f"  {self.text}", style="dim")
        if percent:
            grid.add_row(words, ProgressBar(completed=int(percent[1]), width=24, complete_style="yellow"))
        else:
            grid.add_row(words)
        return grid
