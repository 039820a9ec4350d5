"""`lamplighter logs`."""

from __future__ import annotations

import click

from lamplighter.cli.connection import Connection
from lamplighter.cli.helping import examples
from lamplighter.cli.options import complete_name, talks_to_server


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
@talks_to_server
def logs(connection: Connection, name: str, follow: bool, tail: int) -> None:
    """Read what an endpoint's engine printed; wakes nothing.

    Shows the output of its last start, and of the one before where there is room. Secrets are blacked out.
    """
    for piece in connection.logs(name, tail=tail, follow=follow):
        click.echo(piece, nl=False)
