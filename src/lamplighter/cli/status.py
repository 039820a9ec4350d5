"""`lamplighter status`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.base.refusals import Refused
from lamplighter.cli.options import asks_where, complete_name, one_form, quiet_option, watch_option
from lamplighter.cli.reach.connection import Connection, Reply
from lamplighter.cli.reach.place import Asked, Place, find_place
from lamplighter.cli.show.printing import print_json

if TYPE_CHECKING:
    from lamplighter.cli.reach.answers import EndpointView
    from lamplighter.sdk.client import AsyncClient, Status


@click.command(
    epilog=examples(
        "lamplighter status", "lamplighter status chat", "lamplighter status --json | jq '.endpoints.chat.status'"
    )
)
@click.argument("name", required=False, shell_complete=complete_name)
@watch_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; of a server, what its API answers, unchanged.")
@quiet_option
@asks_where
def status(asked: Asked, name: str | None, *, watching: bool, as_json: bool, quiet: bool) -> None:
    """Show how the endpoints are; wakes nothing.

    Without a NAME: a table of all endpoints. With one: what its state means and costs, and what to do next.
    """
    one_form(as_json=as_json, quiet=quiet, watching=watching)
    place = find_place(asked)
    if place.url is None or place.namespace:
        _of_management(place, name, watching=watching, as_json=as_json, quiet=quiet)
        return
    with Connection(place.url, place.key) as connection:
        if watching:
            from lamplighter.cli.show.watch import watch  # noqa: PLC0415 - help should not pay for it

            watch(lambda: _ask(connection, name), name, as_json=as_json)
        else:
            _print(_ask(connection, name), name, as_json, quiet)
            if not as_json and not quiet:
                _print_alarms(connection, name)


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
    from lamplighter.cli.show import picture  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import out  # noqa: PLC0415

    console = out()
    console.print(
        picture.one(console, views[0], time.time()) if name else picture.overview(console, views, time.time())
    )


def _print_alarms(connection: Connection, name: str | None) -> None:
    """A line for each alarm that stands, of one endpoint or all. A server that knows no alarms has none."""
    try:
        found = connection.alarms().body.get("alarms") or []
    except Refused:
        return
    shown = [alarm for alarm in found if name is None or alarm.get("endpoint") == name]
    if not shown:
        return
    from lamplighter.cli.show import sounding  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import out  # noqa: PLC0415

    console = out()
    for line in sounding.lines(console, shown, time.time()):
        console.print(line, soft_wrap=True)


def _of_management(place: Place, name: str | None, *, watching: bool, as_json: bool, quiet: bool) -> None:
    """The same of what has the management API alone."""
    from lamplighter.cli.listing import show_list  # noqa: PLC0415 - help should not pay for it

    if name is None:
        show_list(place, watching=watching, as_json=as_json, quiet=quiet)
        return
    from lamplighter.cli.show import standing  # noqa: PLC0415

    async def ask(client: AsyncClient) -> Status:
        return await client.status(name)

    if watching:
        from lamplighter.cli.show.observing import Watched, observe  # noqa: PLC0415

        watched = Watched(
            ask=ask,
            draw=standing.one,
            lines=lambda found: {found.name: standing.line(found)},
            as_json=standing.as_json,
        )
        observe(place, watched, as_json=as_json)
        return
    found = place.run(ask)
    if as_json:
        print_json(standing.as_json(found))
    elif quiet:
        click.echo(found.name)
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415

        console = out()
        console.print(standing.one(console, found))
