"""`lamplighter up` and `lamplighter down`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from lamplighter.cli.base.helping import examples
from lamplighter.cli.base.interruption import exit_code
from lamplighter.cli.options import asks_where, json_option, one_form, quiet_option, timeout_option
from lamplighter.cli.reach.place import Asked, Place, find_place
from lamplighter.cli.show.printing import Form, print_json, print_outcome, tell_where
from lamplighter.errors import ConfigError, InvalidInput, LamplighterError, NotFound

if TYPE_CHECKING:
    from lamplighter.cli.reach.together import Outcome
    from lamplighter.cli.show.board import Board
    from lamplighter.config import Settings
    from lamplighter.hf.records import Endpoint
    from lamplighter.sdk.client import AsyncClient

Members = dict[str, tuple[str, str | None]]
"""Endpoints, by name and namespace (None: the one that is settled already), under words that tell them apart."""


def _complete_group(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        settings = _settings(ctx.params.get("config"))
    except LamplighterError:
        return []
    return [CompletionItem(name) for name in settings.groups if name.startswith(incomplete)] if settings else []


_group = click.argument("group", shell_complete=_complete_group)
_config = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The lamplighter.yaml whose `groups` are meant; by default the one that `serve` would take.",
)


@click.command(epilog=examples("lamplighter up daytime", "lamplighter up nightly --cloud --timeout 15m"))
@_group
@_config
@timeout_option()
@json_option
@quiet_option
@asks_where
def up(asked: Asked, group: str, *, config: Path | None, timeout: float, as_json: bool, quiet: bool) -> int:
    """Start all endpoints of a group side by side, and wait until they answer.

    The group stands under `groups` in lamplighter.yaml; one that does not is made of the endpoints that carry its name
    as a tag. One that fails does not stop the others. With Ctrl-C the starts go on. A server at which nobody listens
    yet is waited for, up to --timeout.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    from lamplighter.cli.show.board import Board  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import err  # noqa: PLC0415

    _await_server(place, timeout)
    members = _members(place, group, config)
    with Board(err(), "running", list(members)) as board:
        try:
            outcomes = place.run(lambda client: _start_all(client, board, members, timeout))
        except KeyboardInterrupt as error:
            stop = f"lamplighter down {shlex.quote(group)}{place.options}"
            click.echo(f"what has begun goes on starting, and is billed. To stop it: {stop}", err=True)
            return exit_code(error)
    return _tell(outcomes, Form(as_json, quiet))


@click.command(epilog=examples("lamplighter down daytime"))
@_group
@_config
@json_option
@quiet_option
@asks_where
def down(asked: Asked, group: str, *, config: Path | None, as_json: bool, quiet: bool) -> int:
    """Pause all endpoints of a group side by side: they cost nothing then, and no request wakes them.

    One that fails does not stop the others; the exit code tells of it.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    members = _members(place, group, config)
    return _tell(place.run(lambda client: _stop_all(client, members)), Form(as_json, quiet))


def _await_server(place: Place, timeout: float) -> None:
    """Wait for a server that may be starting just now, as at boot."""
    if place.url is None:
        return
    from lamplighter.cli.reach.connection import Connection  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.reach.readiness import await_server  # noqa: PLC0415

    with Connection(place.url, place.key) as connection:
        await_server(connection.statuses, timeout)


def _members(place: Place, group: str, config: Path | None) -> Members:
    """The endpoints of a group. Raises NotFound, ConfigError."""
    settings = _settings(config)
    groups = settings.groups if settings else {}
    if settings and group in groups:
        names = groups[group]
        return _told_apart(_there(settings, names) if place.is_cloud else [(name, None) for name in names])
    tagged = place.run(lambda client: client.list(tags=(group,)))
    found = [(endpoint.name, endpoint.namespace or None) for endpoint in tagged if group in endpoint.tags]
    if not found:
        where = (
            f"no group {group!r} in {settings.source}" if settings else f"no lamplighter.yaml with a group {group!r}"
        )
        known = f"; the groups there are: {', '.join(sorted(groups))}" if groups else ""
        raise NotFound(f"there is {where}, and no endpoint with that tag at {place.title}{known}")
    return _told_apart(found)


def _told_apart(found: Sequence[tuple[str, str | None]]) -> Members:
    """By name; by namespace and name where two namespaces have one of that name."""
    different = list(dict.fromkeys(found))
    names = [name for name, _ in different]
    return {
        f"{namespace}/{name}" if namespace and names.count(name) > 1 else name: (name, namespace)
        for name, namespace in different
    }


def _settings(config: Path | None) -> Settings | None:
    """The configuration; None where there is no file. Raises ConfigError for one that is wrong."""
    from lamplighter.config import find, load  # noqa: PLC0415 - help should not pay for it

    if config is None:
        try:
            config = find(os.environ)
        except ConfigError:
            return None  # it raises for nothing but that there is none
    return load(config) if config else None


def _there(settings: Settings, names: Sequence[str]) -> list[tuple[str, str | None]]:
    """What endpoints of the configuration are called at Hugging Face. Raises InvalidInput for one that is not there."""
    specs = settings.specs()
    members = []
    for name in names:
        remote = specs[name].remote
        if remote is None or (remote.url and not remote.name):
            raise InvalidInput(
                f"{name} of this group is no endpoint that Hugging Face knows by a name: let its server start it "
                "(leave --cloud out, or give --server)"
            )
        members.append((remote.name or name, remote.namespace))
    return members


async def _start_all(client: AsyncClient, board: Board, members: Members, timeout: float) -> list[Outcome[Endpoint]]:
    from lamplighter.cli.reach.together import side_by_side  # noqa: PLC0415 - help should not pay for it

    tell_where(client.where)
    return await side_by_side(
        list(members),
        lambda key: client.start(
            members[key][0], timeout=timeout, namespace=members[key][1], on_progress=board.watcher(key)
        ),
    )


async def _stop_all(client: AsyncClient, members: Members) -> list[Outcome[Endpoint]]:
    from lamplighter.cli.reach.together import side_by_side  # noqa: PLC0415 - help should not pay for it

    tell_where(client.where)
    return await side_by_side(list(members), lambda key: client.stop(members[key][0], namespace=members[key][1]))


def _tell(outcomes: Sequence[Outcome[Endpoint]], form: Form) -> int:
    """Print what became of each; returns the exit code."""
    from lamplighter.cli.reach.together import tell_failures  # noqa: PLC0415
    from lamplighter.cli.show.facts import as_json  # noqa: PLC0415 - help should not pay for it

    done = [outcome.result for outcome in outcomes if outcome.result]
    if form.as_json:
        print_json(
            [
                {"name": one.name, "error": one.error.message if one.error else None}
                | ({"endpoint": as_json(one.result)} if one.result else {})
                for one in outcomes
            ]
        )
    else:
        for endpoint in done:
            print_outcome(endpoint, form)
    code = tell_failures(outcomes)
    if not form.quiet and not form.as_json:
        click.echo(f"{len(done)} of {len(outcomes)} done", err=True)
    return code
