"""Tables of records for people. Columns that nothing stands in are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

NOTHING = Text("-", style="dim")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A title, and what stands under it for one record; None for nothing."""

    title: str
    cell: Callable[[T], Text | str | None]
    justify: Literal["left", "right"] = "left"
    may_be_cut: bool = False


def table(columns: Sequence[Column[T]], records: Sequence[T]) -> RenderableType:
    """All records, one a row."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    cells = [[column.cell(record) for record in records] for column in columns]
    shown = [(column, made) for column, made in zip(columns, cells, strict=True) if any(made)]
    for column, _ in shown:
        drawn.add_column(column.title, justify=column.justify, no_wrap=True, overflow="ellipsis")
        drawn.columns[-1].min_width = 8 if column.may_be_cut else None
    for row in zip(*(made for _, made in shown), strict=True):
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(cell) if cell else NOTHING for cell in row))
    return drawn


def facts(pairs: Sequence[tuple[str, str | Text | None]]) -> RenderableType:
    """Words and what is said of each; those without are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for word, said in pairs:
        if said:
            grid.add_row(word, said if isinstance(said, Text) else Text(said))
    return grid
