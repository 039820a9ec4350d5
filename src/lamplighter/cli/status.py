"""`lamplighter status`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from lamplighter.cli import picture
from lamplighter.cli.answers import EndpointView
from lamplighter.cli.connection import Connection, Reply
from lamplighter.cli.helping import examples
from lamplighter.cli.options import complete_name, talks_to_server
from lamplighter.cli.output import out
from lamplighter.cli.watch import watch


@click.command(
    epilog=examples(
        "lamplighter status", "lamplighter status chat", "lamplighter status --json | jq '.endpoints.chat.status'"
    )
)
@click.argument("name", required=False, shell_complete=complete_name)
@click.option("--watch", "watching", is_flag=True, help="Go on showing changes until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print what the server's API answers, unchanged.")
@click.option("--quiet", "-q", is_flag=True, help="Print names alone, one a line.")
@talks_to_server
def status(connection: Connection, name: str | None, *, watching: bool, as_json: bool, quiet: bool) -> None:
    """Show how the endpoints are; wakes nothing.

    Without a NAME: a table of all endpoints of the server. With one: what its state means, and what to do next.
    """
    if as_json and quiet:
        raise click.UsageError("--json and --quiet exclude each other.")
    if watching and quiet:
        raise click.UsageError("--watch and --quiet exclude each other.")
    if watching:
        watch(lambda: _ask(connection, name), name, as_json=as_json)
    else:
        _print(_ask(connection, name), name, as_json, quiet)


def _ask(connection: Connection, name: str | None) -> Reply:
    return connection.status(name) if name else connection.statuses()


def _print(reply: Reply, name: str | None, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(reply.text)
        return
    views: Sequence[EndpointView] = [reply.endpoint()] if name else reply.endpoints()
    if quiet:
        for view in views:
            click.echo(view.name)
        return
    console = out()
    console.print(
        picture.one(console, views[0], time.time()) if name else picture.overview(console, views, time.time())
    )
