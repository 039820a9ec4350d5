"""`lamplighter status`."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.base.refusals import Refused
from lamplighter.cli.options import asks_where, complete_name, one_form, quiet_option, watch_option
from lamplighter.cli.reach.connection import Connection, Reply
from lamplighter.cli.reach.place import Asked, Place, find_place
from lamplighter.cli.show.printing import print_json, print_names
from lamplighter.errors import InvalidInput, LamplighterError, NotFound

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

    Without a NAME: a table of all endpoints. With one: what its state means and costs, and what to do next. The NAME of
    a route or of an upstream shows where requests go, and which targets are left alone for their failures.
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
            try:
                reply = _ask(connection, name)
            except (Refused, InvalidInput) as error:
                if not name or (isinstance(error, Refused) and error.exit_code != NotFound.exit_code):
                    raise
                _print_routes(connection, name, error, as_json=as_json, quiet=quiet)
                return
            _print(reply, name, as_json, quiet)
            if not as_json and not quiet:
                _print_alarms(connection, name and {name})


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
    from lamplighter.cli.show import picture, routing  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import out  # noqa: PLC0415

    console = out()
    console.print(
        picture.one(console, views[0], time.time()) if name else picture.overview(console, views, time.time())
    )

    if not name and (spent := _today(reply.body)):
        console.print(spent, soft_wrap=True, style="dim")
    routes = reply.body.get("routes") or []
    for line in routing.lines(routes if name else routing.troubled(routes)):
        console.print(line, soft_wrap=True)


def _today(body: Mapping[str, Any]) -> str | None:
    """What all of them have come to today; nothing of a server that charges for none."""
    from lamplighter.cli.show.amounts import amount  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.portrayal import today  # noqa: PLC0415

    told = body.get("today") or {}
    cost, saved = amount(told, "cost"), amount(told, "saved")
    return f"\nToday ({told.get('time_zone')}): {today(cost, saved)}." if cost or saved else None


def _print_routes(connection: Connection, name: str, missing: LamplighterError, *, as_json: bool, quiet: bool) -> None:
    """What is no endpoint may be the name of a route, or of an upstream. Raises `missing` where it is neither."""
    from lamplighter.cli.show import routing  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import out  # noqa: PLC0415

    try:
        found = routing.about(connection.statuses().body.get("routes") or [], name)
    except Refused:
        raise missing from None
    if not found:
        raise missing
    if as_json:
        print_json({"success": True, "routes": found})
    elif quiet:
        print_names([str(route.get("name")) for route in found])
    else:
        for line in routing.lines(found):
            out().print(line, soft_wrap=True)
        _print_alarms(connection, {name, *routing.targets_of(found)})


def _print_alarms(connection: Connection, names: Collection[str] | None) -> None:
    """A line for each alarm that stands, of these or all. A server that knows no alarms has none."""
    try:
        found = connection.alarms().body.get("alarms") or []
    except Refused:
        return
    shown = [alarm for alarm in found if not names or alarm.get("endpoint") in names]
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
