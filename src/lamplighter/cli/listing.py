"""`lamplighter list`, `describe` and `replicas`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, complete_name, json_option, one_form, quiet_option, watch_option
from lamplighter.cli.reach.place import Asked, Place, find_place
from lamplighter.cli.show.printing import print_json, print_names

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from lamplighter.hf.records import Endpoint, ReplicaInfo
    from lamplighter.sdk.client import AsyncClient


@click.command(
    "list",
    epilog=examples(
        "lamplighter list",
        "lamplighter list -n '*' --tag nightly",
        "lamplighter list --json | jq -r '.[] | select(.status.state == \"running\") | .name'",
    ),
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only those with this tag; again for more.")
@click.option("--search", metavar="TEXT", help="Only those whose name holds this.")
@watch_option
@json_option
@quiet_option
@asks_where
def list_(
    asked: Asked, *, tags: tuple[str, ...], search: str | None, watching: bool, as_json: bool, quiet: bool
) -> None:
    """List the endpoints of a namespace, every page of them; `-n '*'` lists all namespaces of the token.

    Shows the provider's state, what each runs on, and how many replicas are ready of those wanted.
    """
    one_form(as_json=as_json, quiet=quiet, watching=watching)
    place = find_place(asked)
    show_list(place, tags=tags, search=search, watching=watching, as_json=as_json, quiet=quiet)


def show_list(
    place: Place,
    *,
    tags: tuple[str, ...] = (),
    search: str | None = None,
    watching: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """List in the form that was asked for."""

    async def ask(client: AsyncClient) -> list[Endpoint]:
        return await client.list(tags=tags, search=search)

    if watching:
        _watch_list(place, ask, _nothing(place, tags, search), as_json=as_json)
    else:
        _print_list(place.run(ask), _nothing(place, tags, search), as_json=as_json, quiet=quiet)


def _nothing(place: Place, tags: Sequence[str], search: str | None) -> str:
    """What to say where nothing is found."""
    asked = [*(f"--tag {tag}" for tag in tags), *([f"--search {search}"] if search else [])]
    if asked:
        return f"No endpoint at {place.title} matches {' '.join(asked)}."
    return f"There is no endpoint at {place.title}. `lamplighter deploy --help` tells how to make one."


def _print_list(endpoints: Sequence[Endpoint], nothing: str, *, as_json: bool, quiet: bool) -> None:
    from lamplighter.cli.show.facts import as_json as whole  # noqa: PLC0415 - help should not pay for it

    if as_json:
        print_json([whole(endpoint) for endpoint in endpoints])
    elif quiet:
        print_names([endpoint.name for endpoint in endpoints])
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415

        console = out()
        console.print(_drawn(console, endpoints, nothing))


def _drawn(console: Console, endpoints: Sequence[Endpoint], nothing: str) -> RenderableType:
    from lamplighter.cli.show.portrayal import overview  # noqa: PLC0415 - help should not pay for it

    return overview(console, endpoints) if endpoints else nothing


def _watch_list(
    place: Place, ask: Callable[[AsyncClient], Awaitable[list[Endpoint]]], nothing: str, *, as_json: bool
) -> None:
    from lamplighter.cli.show.facts import as_json as whole  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.observing import Watched, endpoint_line, observe  # noqa: PLC0415

    watched = Watched(
        ask=ask,
        draw=lambda console, endpoints: _drawn(console, endpoints, nothing),
        lines=lambda endpoints: {f"{e.namespace}/{e.name}": endpoint_line(e) for e in endpoints},
        as_json=lambda endpoints: [whole(endpoint) for endpoint in endpoints],
    )
    observe(place, watched, as_json=as_json)


@click.command(epilog=examples("lamplighter describe mert", "lamplighter describe mert --json | jq .model.image"))
@click.argument("name", shell_complete=complete_name)
@json_option
@quiet_option
@asks_where
def describe(asked: Asked, name: str, *, as_json: bool, quiet: bool) -> None:
    """Show everything about one endpoint: state, model, hardware, scaling, cost, tags, who holds it.

    With --json: what the management API answers, with all that we do not know of.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    endpoint = place.run(lambda client: client.get(name))
    if as_json:
        from lamplighter.cli.show.facts import as_json as whole  # noqa: PLC0415 - help should not pay for it

        print_json(whole(endpoint))
    elif quiet:
        click.echo(endpoint.name)
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415
        from lamplighter.cli.show.portrayal import one  # noqa: PLC0415

        console = out()
        console.print(one(console, endpoint))


@click.command(epilog=examples("lamplighter replicas mert", "lamplighter replicas mert --watch"))
@click.argument("name", shell_complete=complete_name)
@watch_option
@json_option
@quiet_option
@asks_where
def replicas(asked: Asked, name: str, *, watching: bool, as_json: bool, quiet: bool) -> None:
    """List the replicas of an endpoint: their ids, which `logs --replica` takes, and how far each is.

    One that sleeps has none.
    """
    one_form(as_json=as_json, quiet=quiet, watching=watching)
    place = find_place(asked)

    async def ask(client: AsyncClient) -> list[ReplicaInfo]:
        return await client.replicas(name)

    if watching:
        from lamplighter.cli.show.observing import Watched, observe  # noqa: PLC0415 - help should not pay for it

        watched = Watched(
            ask=ask, draw=lambda console, found: _replica_table(name, found, console.width), lines=_lines, as_json=_raw
        )
        observe(place, watched, as_json=as_json)
        return
    found = place.run(ask)
    if as_json:
        print_json(_raw(found))
    elif quiet:
        print_names([replica.id for replica in found])
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415

        console = out()
        console.print(_replica_table(name, found, console.width))


def _replica_table(name: str, found: Sequence[ReplicaInfo], width: int) -> RenderableType:
    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415 - help should not pay for it

    if not found:
        return f"{name} has no replica now."
    columns: list[Column[ReplicaInfo]] = [
        Column("replica", lambda replica: replica.id),
        Column("stage", lambda replica: replica.stage),
        Column("live", lambda replica: None if replica.live is None else "yes" if replica.live else "no"),
    ]
    return table(columns, found, width)


def _lines(found: Sequence[ReplicaInfo]) -> dict[str, str]:
    return {replica.id: f"{replica.id}  {replica.stage or '-'}" for replica in found}


def _raw(found: Sequence[ReplicaInfo]) -> list[object]:
    return [dict(replica.raw) for replica in found]
