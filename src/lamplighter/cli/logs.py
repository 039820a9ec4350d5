"""`lamplighter logs`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, complete_name
from lamplighter.cli.reach.connection import Connection
from lamplighter.cli.reach.place import Asked, find_place

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient

_ROW = re.compile(r"- (\d{4}-\d\d-\d\dT\S+) ?(.*)")
"""How the management API writes a line of a log whose time it knows."""


@click.command(epilog=examples("lamplighter logs chat --tail 20", "lamplighter logs chat -f"))
@click.argument("name", shell_complete=complete_name)
@click.option("--follow", "-f", is_flag=True, help="Go on with each further line until Ctrl-C.")
@click.option(
    "--tail",
    type=click.IntRange(0, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="How many of the last lines.",
)
@click.option("--replica", metavar="ID", help="Of this replica alone; `lamplighter replicas` lists them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: line, and timestamp if told.")
@asks_where
def logs(asked: Asked, name: str, *, follow: bool, tail: int, replica: str | None, as_json: bool) -> None:
    """Read what an endpoint's engine printed; wakes nothing.

    Of a server: the output of its last start, and of the one before where there is room, with secrets blacked out.
    """
    place = find_place(asked)
    if place.url and not replica and not place.namespace:
        with Connection(place.url, place.key) as connection:
            pieces = connection.logs(name, tail=tail, follow=follow)
            for text in map(_as_json, whole_lines(pieces)) if as_json else pieces:
                click.echo(text, nl=as_json)
        return

    async def read(client: AsyncClient) -> None:
        async for line in client.logs(name, tail=tail, follow=follow, replica=replica):
            text = line.rstrip("\n")
            click.echo(_as_json(text) if as_json else text)

    place.run(read)


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Lines out of text that comes in pieces; the last one also without its end."""
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from lines
    if rest:
        yield rest


def _as_json(line: str) -> str:
    row = _ROW.fullmatch(line)
    told = {"timestamp": row[1], "line": row[2]} if row else {"line": line}
    return json.dumps(told, ensure_ascii=False)
