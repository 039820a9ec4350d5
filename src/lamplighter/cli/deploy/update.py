"""`lamplighter update`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.deployment import CHANGE, describes, noted
from lamplighter.cli.options import asks_where, complete_name, json_option, one_form, quiet_option
from lamplighter.cli.reach.place import Asked, find_place
from lamplighter.cli.show.printing import Form, print_outcome, tell_where

if TYPE_CHECKING:
    from lamplighter.hf.records import Endpoint
    from lamplighter.sdk.client import AsyncClient


@click.command(
    epilog=examples(
        "lamplighter update chat --min-replica 0 --scale-to-zero-timeout 15",
        "lamplighter update chat --instance-type nvidia-a10g && lamplighter wait chat",
    )
)
@click.argument("name", shell_complete=complete_name)
@json_option
@quiet_option
@asks_where
@describes(CHANGE)
def update(asked: Asked, name: str, *, values: Mapping[str, Any], as_json: bool, quiet: bool) -> None:
    """Change an endpoint: what is given is sent and nothing else, and the rest stays as it is.

    An endpoint that runs goes on serving until the changed replicas are ready. Vendor and region can't be changed.
    """
    one_form(as_json=as_json, quiet=quiet)
    if not values:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in _changeable())
        raise click.UsageError(f"Nothing to change was given; what can be: {options}.")
    place = find_place(asked)
    print_outcome(place.run(lambda client: _change(client, name, values)), Form(as_json, quiet))


def _changeable() -> list[str]:
    context = click.get_current_context()
    mine = {"name", "as_json", "quiet", "server", "cloud", "namespace", "key_file", "token_file", "debug", "help"}
    return [param.name for param in context.command.params if param.name and param.name not in mine]


async def _change(client: AsyncClient, name: str, values: Mapping[str, Any]) -> Endpoint:
    from lamplighter.cli.deploy.plan import differences  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import err  # noqa: PLC0415
    from lamplighter.hf.forms import Changes  # noqa: PLC0415

    changes = noted(lambda: Changes.of(values))
    current = await client.get(name)
    changes.check(current)
    if changes.against(current).is_empty:
        err().print(f"{name} is so already: nothing was sent.", highlight=False)
        return current
    tell_where(client.where)
    err().print(differences(changes.differences(current)))
    return await client.update(name, changes)
