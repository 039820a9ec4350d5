"""Showing changes as they come: a picture that lives on a terminal, a line per change anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import click
from rich.console import Console, RenderableType
from rich.live import Live

from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.reach.connection import Reply
from lamplighter.cli.show import picture
from lamplighter.cli.show.output import out
from lamplighter.cli.show.words import one_line

EVERY = 1.0
"""Seconds between two questions."""


def watch(ask: Callable[[], Reply], name: str | None, *, as_json: bool) -> None:
    """Ask again and again, until Ctrl-C."""
    console = out()
    if as_json or not console.is_terminal:
        for line in lines(_replies(ask), name, as_json=as_json):
            click.echo(line)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        for reply in _replies(ask):
            live.update(_picture(console, reply, name), refresh=True)


def lines(replies: Iterator[Reply], name: str | None, *, as_json: bool) -> Iterator[str]:
    """One line for each endpoint at first, then one for each change; the whole answer as a line for programs."""
    known: dict[str, tuple[object, ...]] = {}
    for reply in replies:
        views = _views(reply, name)
        changed = [view for view in views if known.get(view.name) != _notable(view)]
        known = {view.name: _notable(view) for view in views}
        if as_json and changed:
            yield reply.text
        elif not as_json:
            yield from map(_line, changed)


def _replies(ask: Callable[[], Reply]) -> Iterator[Reply]:
    while True:
        yield ask()
        time.sleep(EVERY)


def _picture(console: Console, reply: Reply, name: str | None) -> RenderableType:
    views, now = _views(reply, name), time.time()
    return picture.one(console, views[0], now) if name else picture.overview(console, views, now)


def _views(reply: Reply, name: str | None) -> Sequence[EndpointView]:
    return [reply.endpoint()] if name else reply.endpoints()


def _notable(view: EndpointView) -> tuple[object, ...]:
    return (view.status, view.replicas_ready, view.in_flight, view.waiting, view.message, view.breaker)


def _line(view: EndpointView) -> str:
    at = datetime.now().astimezone().strftime("%H:%M:%S")
    said = f"  {one_line(view.message)}" if view.message else ""
    return f"{at}  {view.name}  {view.status}  {view.in_flight} in flight, {view.waiting} waiting{said}"
