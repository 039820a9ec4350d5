"""Costs over time as bars: a row for each day, week or month. Pure but for the console's width and characters.

The kinds differ in their characters as well as in their colours, so that nobody needs colours to tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

from rich.console import Console
from rich.text import Text

from lamplighter.cli.show.amounts import KINDS, shown
from lamplighter.cli.show.output import pick

Amounts = Mapping[str, Decimal]
"""What was paid, by kind."""

_LOOKS = {"cold_start": ("▒", "+", "yellow"), "serving": ("█", "#", "green"), "idle": ("░", ".", "magenta")} | {
    "by_use": ("▓", "=", "cyan")
}
_WORDS = {"cold_start": "cold start", "serving": "serving", "idle": "idle", "by_use": "by use"}
_WIDEST, _NARROWEST = 60, 8
_MOST_DAYS, _MOST_WEEKS = 31, 27
_GAP = 2


def chart(console: Console, days: Mapping[date, Amounts], first: date, last: date) -> list[Text]:
    """Lines to print: a row for each stretch of time from `first` to `last`, and what the characters mean."""
    rows = [(label, _sum(days, begin, end)) for label, begin, end in _stretches(first, last)]
    totals = [sum(amounts.values(), Decimal(0)) for _, amounts in rows]
    most = max(totals, default=Decimal(0))
    if most <= 0:
        return []
    labels = max(len(label) for label, _ in rows)
    amounts_width = max(len(shown(total) or "") for total in totals)
    width = max(_NARROWEST, min(_WIDEST, console.width - labels - amounts_width - 2 * _GAP))
    lines = [_row(console, label.ljust(labels), amounts, most, width) for label, amounts in rows]
    used = [kind for kind in KINDS if kind != "by_use" or any(amounts[kind] for _, amounts in rows)]
    return [*lines, _legend(console, used, labels)]


def _row(console: Console, label: str, amounts: Amounts, most: Decimal, width: int) -> Text:
    line = Text(label, style="dim")
    line.append(" " * _GAP)
    for kind, cells in zip(KINDS, lengths([amounts[kind] for kind in KINDS], most, width), strict=True):
        fine, plain, colour = _LOOKS[kind]
        line.append(pick(console, fine, plain) * cells, style=colour)
    total = sum(amounts.values(), Decimal(0))
    if total:
        line.append(f" {shown(total)}", style="not dim")
    return line


def lengths(amounts: Sequence[Decimal], most: Decimal, width: int) -> list[int]:
    """How many of `width` cells each amount gets where `most` fills them: together what their sum gets, rounded.

    What is more than nothing has one cell in all, at least: that of the largest.
    """
    edges, sum_ = [0], Decimal(0)
    for amount in amounts:
        sum_ += amount
        edges.append(int((sum_ * width / most).to_integral_value(ROUND_HALF_UP)))
    cells = [end - begin for begin, end in pairwise(edges)]
    if sum_ > 0 and not any(cells):
        cells[max(range(len(amounts)), key=lambda index: amounts[index])] = 1
    return cells


def _legend(console: Console, kinds: Sequence[str], indent: int) -> Text:
    line = Text(" " * (indent + _GAP))
    for kind in kinds:
        fine, plain, colour = _LOOKS[kind]
        line.append(pick(console, fine, plain) * 2, style=colour)
        line.append(f" {_WORDS[kind]}   ", style="dim")
    line.rstrip()
    return line


def _sum(days: Mapping[date, Amounts], begin: date, end: date) -> Amounts:
    within = [amounts for day, amounts in days.items() if begin <= day < end]
    return {kind: sum((amounts[kind] for amounts in within), Decimal(0)) for kind in KINDS}


def _stretches(first: date, last: date) -> Iterator[tuple[str, date, date]]:
    """A label, the first day, and the day after the last one: days, weeks from Monday on, or months."""
    days = (last - first).days + 1
    if days <= _MOST_DAYS:
        for index in range(days):
            day = first + timedelta(days=index)
            yield f"{day:%a %d %b}", day, day + timedelta(days=1)
    elif days <= _MOST_WEEKS * 7:
        day = first - timedelta(days=first.weekday())
        while day <= last:
            yield f"week of {day:%d %b}", day, day + timedelta(days=7)
            day += timedelta(days=7)
    else:
        day = first.replace(day=1)
        while day <= last:
            following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            yield f"{day:%b %Y}", day, following
            day = following
