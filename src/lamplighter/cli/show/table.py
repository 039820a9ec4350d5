"""Tables of records for people. Columns that nothing stands in are left out, and those that there is no room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

NOTHING = Text("-", style="dim")

_GAP = 2
_CUT = 16
"""What is left at least of a column that may be cut, or wrapped."""

Cells = list[Text | str | None]


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A title, and what stands under it for one record; None for nothing."""

    title: str
    cell: Callable[[T], Text | str | None]
    justify: Literal["left", "right"] = "left"
    may_be_cut: bool = False
    may_wrap: bool = False
    may_be_missing: bool = False


def table(columns: Sequence[Column[T]], records: Sequence[T], width: int) -> RenderableType:
    """All records, one a row, on a console of so many columns."""
    drawn = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    cells = [[column.cell(record) for record in records] for column in columns]
    shown = _fitting([(column, made) for column, made in zip(columns, cells, strict=True) if any(made)], width)
    for column, _ in shown:
        # Rich makes those narrower that may wrap, and leaves the others whole; its cells then cut instead of wrapping.
        drawn.add_column(column.title, justify=column.justify, no_wrap=not _shrinks(column))
    for row in zip(*(made for _, made in shown), strict=True):
        drawn.add_row(*(_cell(cell, wraps=column.may_wrap) for cell, (column, _) in zip(row, shown, strict=True)))
    return drawn


def _fitting(shown: list[tuple[Column[T], Cells]], width: int) -> list[tuple[Column[T], Cells]]:
    """Leave out what may be missing, the last first, until the rest fits."""
    while sum(_least(column, made) + _GAP for column, made in shown) - _GAP > width:
        spare = [index for index, (column, _) in enumerate(shown) if column.may_be_missing]
        if not spare:
            break
        del shown[spare[-1]]
    return shown


def _least(column: Column[T], made: Cells) -> int:
    """How narrow a column may get."""
    whole = max(len(column.title), *(cell_len(str(cell or "-")) for cell in made))
    return min(whole, _CUT) if _shrinks(column) else whole


def _shrinks(column: Column[T]) -> bool:
    return column.may_be_cut or column.may_wrap


def _cell(said: Text | str | None, *, wraps: bool) -> Text:
    cell = said if isinstance(said, Text) else Text(said) if said else NOTHING.copy()
    cell.no_wrap, cell.overflow = not wraps, "fold" if wraps else "ellipsis"
    return cell


def facts(pairs: Sequence[tuple[str, str | Text | None]]) -> RenderableType:
    """Words and what is said of each; those without are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for word, said in pairs:
        if said:
            grid.add_row(word, said if isinstance(said, Text) else Text(said))
    return grid
