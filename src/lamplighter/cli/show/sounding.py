"""Alarms for people: a line for each, in red."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lamplighter.cli.base.advice import completed
from lamplighter.cli.show.output import pick
from lamplighter.cli.show.words import ago, one_line


def lines(console: Console, alarms: Sequence[Mapping[str, Any]], now: float) -> Iterator[Text]:
    """Each alarm as `/api/alarms` tells it; `now` is Unix time."""
    for alarm in alarms:
        since = alarm.get("since")
        when = f" ({ago(now - since)})" if isinstance(since, int | float) else ""
        what = one_line(str(alarm.get("alarm", "alarm")))
        text = completed(one_line(str(alarm.get("text", ""))))
        yield Text.assemble((f"{pick(console, '✗', '!')} {what}{when}: ", "bold red"), (text, "red"))
