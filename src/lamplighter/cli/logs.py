"""`lamplighter logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lamplighter.cli.connection import Connection
from lamplighter.cli.helping import examples
from lamplighter.cli.options import asks_where, complete_name
from lamplighter.cli.place import Asked, find_place

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient


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
@asks_where
def logs(asked: Asked, name: str, *, follow: bool, tail: int, replica: str | None) -> None:
    """Read what an endpoint's engine printed; wakes nothing.

    Of a server: the output of its last start, and of the one before where there is room, with secrets blacked out.
    """
    place = find_place(asked)
    if place.url and not replica and not place.namespace:
        with Connection(place.url, place.key) as connection:
            for piece in connection.logs(name, tail=tail, follow=follow):
                click.echo(piece, nl=False)
        return

    async def read(client: AsyncClient) -> None:
        async for line in client.logs(name, tail=tail, follow=follow, replica=replica):
            click.echo(line.rstrip("\n"))

    place.run(read)
