"""`lamplighter start`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.base.interruption import exit_code
from lamplighter.cli.deployment import NEW, describes
from lamplighter.cli.options import asks_where, complete_name, json_option, one_form, quiet_option, timeout_option
from lamplighter.cli.reach.place import Asked, Place, find_place
from lamplighter.cli.show.printing import Form, print_json, print_outcome, tell_where
from lamplighter.errors import EndpointNotFound, NotFound

if TYPE_CHECKING:
    from lamplighter.cli.show.board import Board
    from lamplighter.hf.records import Endpoint
    from lamplighter.sdk.client import AsyncClient


@click.command(
    epilog=examples(
        "lamplighter start mert",
        'eval "$(lamplighter start mert --export)" && curl $HF_ENDPOINT_URL/health',
        "lamplighter start mert --create-if-missing -r m-a-p/MERT-v1-330M --vendor aws --region us-east-1"
        " --accelerator gpu --instance-type nvidia-t4 --instance-size x1",
    )
)
@click.argument("name", shell_complete=complete_name)
@click.option("--create-if-missing", is_flag=True, help="Make it from the options below if it is not there.")
@timeout_option()
@click.option("--export", is_flag=True, help="Print the line for the shell alone, for eval.")
@json_option
@quiet_option
@asks_where
@describes(NEW)
def start(
    asked: Asked,
    name: str,
    *,
    values: Mapping[str, Any],
    create_if_missing: bool,
    timeout: float,
    export: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Resume an endpoint and wait until it answers; print its URL, and the line that exports it.

    Joins a start that is under way; returns at once when it runs already. With Ctrl-C the start goes on: it is
    billed until it is stopped.
    """
    one_form(as_json=as_json, quiet=quiet)
    if values and not create_if_missing:
        raise click.UsageError("These options describe an endpoint that is to be made: add --create-if-missing.")
    place = find_place(asked)
    from lamplighter.cli.show.board import Board  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import err  # noqa: PLC0415

    began = time.monotonic()
    with Board(err(), "running", [name]) as board:
        try:
            endpoint = place.run(
                lambda client: _start(client, board, name, timeout, values if create_if_missing else None)
            )
        except KeyboardInterrupt as error:
            _tell_interrupted(name, place)
            return exit_code(error)
        took = time.monotonic() - began if name in board.seen else None
    _tell(endpoint, Form(as_json, quiet), export=export, took=took)
    return 0


async def _start(
    client: AsyncClient, board: Board, name: str, timeout: float, to_make: Mapping[str, Any] | None
) -> Endpoint:
    tell_where(client.where)
    try:
        if to_make is not None:
            await client.get_or_create(name, create_if_missing=True, **to_make)
        return await client.start(name, timeout=timeout, on_progress=board.watcher(name))
    except EndpointNotFound as error:
        if to_make is not None:
            raise
        raise NotFound(f"{error.message} To make it: `lamplighter start {name} --create-if-missing …`.") from error


def _tell_interrupted(name: str, place: Place) -> None:
    stop = f"lamplighter stop {shlex.quote(name)}{place.options}"
    click.echo(f"{name} goes on starting at {place.title}, and is billed. To stop it: {stop}", err=True)


def _tell(endpoint: Endpoint, form: Form, *, export: bool, took: float | None) -> None:
    line = f"export HF_ENDPOINT_URL={shlex.quote(endpoint.url or '')}"
    if export:
        click.echo(line)
    elif form.as_json:
        from lamplighter.cli.show.facts import as_json  # noqa: PLC0415 - help should not pay for it

        print_json({**as_json(endpoint), "url": endpoint.url})
    else:
        print_outcome(endpoint, form, took=took)
        if not form.quiet:
            click.echo(f"{endpoint.url}\n{line}")
