"""Endpoints for people: the table of all, and one in a few lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lamplighter.cli.base.advice import completed
from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.show.amounts import shown
from lamplighter.cli.show.meaning import state_word, status_of
from lamplighter.cli.show.output import sign, style
from lamplighter.cli.show.portrayal import costs, today
from lamplighter.cli.show.progress import detail
from lamplighter.cli.show.routing import breaker_words
from lamplighter.cli.show.words import ago, span, whole
from lamplighter.sdk.status import decimal

_NOTHING = Text("-", style="dim")
_ROOMY = 100


def overview(console: Console, views: Sequence[EndpointView], now: float) -> RenderableType:
    """All endpoints, and below them what there is to add; `now` is Unix time."""
    if not views:
        return Text("No endpoint is configured. `lamplighter init` writes a configuration that has one.")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    columns = [column for column in _COLUMNS if column.shown(console, views)]
    for column in columns:
        # Only the model's name may be cut: all other columns keep their width.
        table.add_column(column.title, justify=column.justify, no_wrap=column.title != "model")
    for view in views:
        table.add_row(*(column.cell(console, view, now) for column in columns))
    notes = [Text(f"{view.name}: {note}", style="dim") for view in views for note in _notes(view)]
    return Group(table, *([Text(), *notes] if notes else []))


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[Console, EndpointView, float], Text]
    justify: Literal["left", "right"] = "left"
    matters: Callable[[EndpointView], object] | None = None
    """For whom it is shown where there is little room; None: always."""
    tells: Callable[[EndpointView], object] | None = None
    """Who has something there: where nobody has, and where there is little room, it is left out."""

    def shown(self, console: Console, views: Sequence[EndpointView]) -> bool:
        if self.tells is not None:
            return console.width >= _ROOMY and any(map(self.tells, views))
        return self.matters is None or console.width >= _ROOMY or any(map(self.matters, views))


def _state_text(console: Console, view: EndpointView) -> Text:
    return Text(f"{sign(console, view.status)} {state_word(view)}", style=style(view.status))


def _spent(view: EndpointView) -> Text:
    return Text(shown(decimal(view.cost_today)) or "") if view.cost_today is not None else _NOTHING


def _number(number: int) -> Text:
    return Text(str(number)) if number else _NOTHING


_COLUMNS = (
    _Column("endpoint", lambda _, view, __: Text(view.name, style="bold")),
    _Column("state", lambda console, view, _: _state_text(console, view)),
    _Column("model", lambda _, view, __: Text(view.model or view.engine or "", no_wrap=True, overflow="ellipsis")),
    _Column("ready", lambda _, view, __: Text(f"{view.replicas_ready}/{view.replicas}"), "right"),
    _Column("in flight", lambda _, view, __: _number(view.in_flight), "right", lambda view: view.in_flight),
    _Column("waiting", lambda _, view, __: _number(view.waiting), "right", lambda view: view.waiting),
    _Column("last used", lambda _, view, now: Text(ago(now - view.last_activity)) if view.last_activity else _NOTHING),
    _Column(
        "sleeps in", lambda _, view, __: _NOTHING if view.auto_sleep_in is None else Text(whole(view.auto_sleep_in))
    ),
    _Column("today", lambda _, view, __: _spent(view), "right", tells=lambda view: view.cost_today),
)


def _notes(view: EndpointView) -> Iterator[str]:
    if view.status == "starting" and view.starting_for is not None:
        expected = f", expected to take {span(view.expected_start)}" if view.expected_start else ""
        yield f"starting for {span(view.starting_for)}{expected}"
    if said := detail(view):
        yield said
    if alone := breaker_words(view.breaker):
        yield f"its breaker is {alone}"


def one(console: Console, view: EndpointView, now: float) -> RenderableType:
    """One endpoint: what its state means, and what to do next."""
    look = style(view.status)
    head = Text.assemble((sign(console, view.status), look), " ", (view.name, "bold"), " is ", (state_word(view), look))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for word, said in _facts(view, now):
        facts.add_row(word, Text(said))
    return Group(head, facts)


def _facts(view: EndpointView, now: float) -> Iterator[tuple[str, str]]:
    yield "means", completed(status_of(view).meaning)
    if view.status not in {"error", "running"} and (said := detail(view)):  # those have said it already
        yield "says", said
    if alone := breaker_words(view.breaker):
        yield "breaker", alone
    if view.status == "unknown" and view.state is not None:
        yield "last known", f"{view.state}, {ago(view.state_age)}" if view.state_age is not None else view.state
    if view.status == "sleeping" and view.expected_start:
        yield "usually takes", span(view.expected_start)
    ready = f"{view.replicas_ready} of {view.replicas} ready"
    yield "runs", f"{view.model or '-'} on {view.engine or '-'}, {ready}"
    if (rate := costs(status_of(view))) is not None:
        yield "costs", rate
    if (spent := today(status_of(view).cost_today, status_of(view).saved_today)) is not None:
        yield "today", spent
    if view.aliases:
        yield "also", ", ".join(view.aliases)
    if view.last_activity:
        yield "last used", ago(now - view.last_activity)
    if view.url:
        yield "url", view.url
