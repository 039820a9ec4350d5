"""Showing what changes at a management API: a picture that lives on a terminal, a line per change anywhere else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from lamplighter.cli.reach.place import Place
from lamplighter.cli.show.output import err, out
from lamplighter.cli.show.words import one_line
from lamplighter.errors import ProviderUnreachable, RateLimited
from lamplighter.hf.records import Endpoint

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient

T = TypeVar("T")

EVERY_HERE = 1.0
EVERY_AT_CLOUD = 5.0
"""Seconds between two questions: Hugging Face counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(Generic[T]):
    """What is asked for, and its three forms. `lines` are by what they are about; one is printed when it changes."""

    ask: Callable[[AsyncClient], Awaitable[T]]
    draw: Callable[[Console, T], RenderableType]
    lines: Callable[[T], Mapping[str, str]]
    as_json: Callable[[T], Any]


def observe(place: Place, watched: Watched[T], *, as_json: bool) -> None:
    """Ask again and again, until Ctrl-C. An API that can't be asked for a while is said so, and asked again."""
    console = out()

    async def whole(client: AsyncClient) -> None:
        async with aclosing(_answers(client, watched.ask, EVERY_AT_CLOUD if place.is_cloud else EVERY_HERE)) as answers:
            if as_json or not console.is_terminal:
                await _tell(answers, watched, as_json=as_json)
            else:
                await _show(console, answers, watched)

    place.run(whole)


async def _answers(
    client: AsyncClient, ask: Callable[[AsyncClient], Awaitable[T]], every: float
) -> AsyncGenerator[tuple[T | None, str | None]]:
    """Answers with None, and None with the reason why there is no answer."""
    pause = every
    while True:
        pause = every
        try:
            yield await ask(client), None
        except RateLimited as error:
            pause = max(every, error.retry_after or 0.0)
            yield None, error.message
        except ProviderUnreachable as error:
            yield None, error.message
        await asyncio.sleep(pause)


async def _show(console: Console, answers: AsyncIterator[tuple[T | None, str | None]], watched: Watched[T]) -> None:
    known: T | None = None
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        async for answer, trouble in answers:
            known = answer if answer is not None else known
            drawn: RenderableType = Text() if known is None else watched.draw(console, known)
            note = Text(f"can't be asked now: {one_line(trouble)}", style="magenta") if trouble else None
            live.update(Group(drawn, note) if note else drawn, refresh=True)


async def _tell(answers: AsyncIterator[tuple[T | None, str | None]], watched: Watched[T], *, as_json: bool) -> None:
    known: Mapping[str, str] | None = None
    async for answer, trouble in answers:
        if answer is None:
            err().print(Text(f"can't be asked now: {one_line(trouble or '')}"))
            continue
        lines = watched.lines(answer)
        changed = [line for key, line in lines.items() if (known or {}).get(key) != line]
        gone = [key for key in known or {} if key not in lines]
        if as_json and (changed or gone or known is None):
            click.echo(json.dumps(watched.as_json(answer), ensure_ascii=False, default=str))
        elif not as_json:
            at = datetime.now().astimezone().strftime("%H:%M:%S")
            for line in (*changed, *(f"{key}  is gone" for key in gone)):
                click.echo(f"{at}  {line}")
        known = lines


def endpoint_line(endpoint: Endpoint) -> str:
    """An endpoint in a line."""
    ready = f"{endpoint.status.ready_replica}/{endpoint.status.target_replica} ready"
    said = endpoint.status.error_message or endpoint.status.message
    return f"{endpoint.name}  {endpoint.state}  {ready}" + (f"  {one_line(said)}" if said else "")
