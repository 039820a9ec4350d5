"""`lamplighter stop`, `pause`, `resume`, `scale-to-zero`, `delete` and `wait`."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, complete_name, json_option, one_form, quiet_option, timeout_option
from lamplighter.cli.reach.place import Asked, find_place
from lamplighter.cli.show.consequences import COMPARED, DELETING
from lamplighter.cli.show.printing import Form, print_json, print_outcome, tell_where
from lamplighter.errors import InvalidInput, LamplighterError

if TYPE_CHECKING:
    from lamplighter.hf.records import Endpoint
    from lamplighter.sdk.client import AsyncClient

_name = click.argument("name", shell_complete=complete_name)


def _compared(*lines: str) -> str:
    return f"{COMPARED}\n{examples(*lines)}"


def _do(asked: Asked, action: Callable[[AsyncClient], Awaitable[Endpoint]], *, as_json: bool, quiet: bool) -> None:
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)

    async def act(client: AsyncClient) -> Endpoint:
        tell_where(client.where)
        return await action(client)

    print_outcome(place.run(act), Form(as_json, quiet))


@click.command(epilog=_compared("lamplighter stop mert"))
@_name
@json_option
@quiet_option
@asks_where
def stop(asked: Asked, name: str, **form: Any) -> None:
    """Stop an endpoint: pause it, so that it costs nothing and gives its quota back.

    One that is paused already is left as it is. Requests are refused until `lamplighter start NAME`.
    """
    _do(asked, lambda client: client.stop(name), **form)


@click.command(
    epilog=_compared("lamplighter pause mert", "lamplighter list -q --tag nightly | xargs -n1 lamplighter pause")
)
@_name
@json_option
@quiet_option
@asks_where
def pause(asked: Asked, name: str, **form: Any) -> None:
    """Pause an endpoint: it costs nothing, gives its quota back, and no request wakes it.

    It stays paused until `lamplighter resume NAME`, or `start`, which waits as well.
    """
    _do(asked, lambda client: client.pause(name), **form)


@click.command(epilog=_compared("lamplighter resume mert && lamplighter wait mert"))
@_name
@json_option
@quiet_option
@asks_where
def resume(asked: Asked, name: str, **form: Any) -> None:
    """Begin to start an endpoint that is paused or scaled to zero, and wait for nothing.

    It is billed from now on. `lamplighter start NAME` does the same and waits until it answers.
    """
    _do(asked, lambda client: client.resume(name), **form)


@click.command("scale-to-zero", epilog=_compared("lamplighter scale-to-zero mert"))
@_name
@json_option
@quiet_option
@asks_where
def scale_to_zero(asked: Asked, name: str, **form: Any) -> None:
    """Scale an endpoint to zero: it costs nothing, keeps its quota, and the next request wakes it.

    What must not be woken by a stray request is better paused.
    """
    _do(asked, lambda client: client.scale_to_zero(name), **form)


@click.command(epilog=_compared("lamplighter delete mert", "lamplighter delete mert --confirm"))
@_name
@click.option("--confirm", is_flag=True, help="Don't ask to type DELETE.")
@json_option
@quiet_option
@asks_where
def delete(asked: Asked, name: str, *, confirm: bool, as_json: bool, quiet: bool) -> None:
    """Delete an endpoint for good, after you have typed DELETE.

    Its settings, secrets, logs and URL are gone then; the model's repository stays. To stop paying and keep the
    endpoint, pause it.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    endpoint = place.run(lambda client: _look(client, name))
    if not confirm:
        _ask(endpoint)
    place.run(lambda client: client.delete(name, confirm=True))
    if as_json:
        print_json({"namespace": endpoint.namespace, "name": name, "deleted": True})
    else:
        click.echo(name if quiet else f"{name} is deleted")


async def _look(client: AsyncClient, name: str) -> Endpoint:
    endpoint = await client.get(name)
    tell_where(client.where)
    return endpoint


def _ask(endpoint: Endpoint) -> None:
    """Go on only if DELETE is typed. Not within a coroutine: there Ctrl-C could not interrupt it."""
    click.echo(f"{endpoint.name} ({endpoint.model.repository}) is {endpoint.state}. {DELETING}", err=True)
    click.echo("Type DELETE to delete it: ", nl=False, err=True)
    typed = sys.stdin.readline()
    if not typed:
        raise InvalidInput("nobody is there to type DELETE: give --confirm to delete without being asked")
    if typed.strip() != "DELETE":
        raise LamplighterError("that was not DELETE: nothing was deleted")


@click.command(
    epilog=examples("lamplighter wait mert", "lamplighter wait mert --until sleeping --timeout 5m"),
)
@_name
@click.option(
    "--until",
    type=click.Choice(["running", "sleeping"]),
    default="running",
    show_default=True,
    help="What to wait for; sleeping is scaled to zero or paused.",
)
@timeout_option()
@json_option
@quiet_option
@asks_where
def wait(asked: Asked, name: str, *, until: str, timeout: float, as_json: bool, quiet: bool) -> None:
    """Wait until an endpoint answers, or sleeps; starts and stops nothing.

    Fails at once when waiting is of no use: it failed, or it sleeps and nothing wakes it. `start` wakes and waits.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    from lamplighter.cli.show.board import Board  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import err  # noqa: PLC0415
    from lamplighter.domain.endpoint import Phase  # noqa: PLC0415

    began = time.monotonic()
    with Board(err(), until, [name]) as board:
        endpoint = place.run(
            lambda client: client.wait(name, until=Phase(until), timeout=timeout, on_progress=board.watcher(name))
        )
    took = time.monotonic() - began
    print_outcome(endpoint, Form(as_json, quiet), took=took if name in board.seen else None)
