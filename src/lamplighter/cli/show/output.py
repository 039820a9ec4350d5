"""Where output goes and how it looks: data to standard output, all else to standard error.

Rich leaves out colours where nobody sees them: no terminal, NO_COLOR, TERM=dumb.
"""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.text import Text

_UNBOUNDED = 200
"""Columns where there is no terminal: whoever reads a pipe wants whole lines."""

_LOOKS = {
    "running": ("green", "●", "*"),
    "sleeping": ("blue", "○", "-"),
    "starting": ("yellow", "◐", "+"),
    "stopping": ("yellow", "◑", "+"),
    "error": ("red", "✗", "!"),
}
_UNKNOWN_LOOK = ("magenta", "?", "?")


def out() -> Console:
    """The console on standard output."""
    return Console(highlight=False, width=_width(sys.stdout.isatty()))


def err() -> Console:
    """The console on standard error."""
    return Console(stderr=True, highlight=False, width=_width(sys.stderr.isatty()))


def _width(is_terminal: bool) -> int | None:
    return None if is_terminal or "COLUMNS" in os.environ else _UNBOUNDED


def style(phase: str) -> str:
    """The colour of a phase."""
    return _LOOKS.get(phase, _UNKNOWN_LOOK)[0]


def sign(console: Console, phase: str) -> str:
    """One character for a phase, which always stands beside the word."""
    return pick(console, *_LOOKS.get(phase, _UNKNOWN_LOOK)[1:])


def pick(console: Console, fine: str, plain: str) -> str:
    """The fine character where the console can print it."""
    return plain if console.options.ascii_only else fine


def phase_text(console: Console, phase: str) -> Text:
    """A phase with its sign and colour."""
    return Text(f"{sign(console, phase)} {phase}", style=style(phase))
