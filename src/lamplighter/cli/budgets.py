"""`lamplighter budgets`: how much of each budget is spent, and when it renews."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import json_option, one_form, quiet_option, talks_to_server
from lamplighter.cli.reach.connection import Connection
from lamplighter.cli.reach.place import read_key
from lamplighter.errors import LamplighterError

_COMPLETION_PATIENCE = 0.5


def _complete_budget(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        with Connection(ctx.params["url"], read_key(None), timeout=_COMPLETION_PATIENCE) as connection:
            told = connection.budgets(()).body.get("budgets") or []
    except LamplighterError:
        return []
    return [CompletionItem(name) for name in dict.fromkeys(one["name"] for one in told) if name.startswith(incomplete)]


@click.command(
    epilog=examples(
        "lamplighter budgets",
        "lamplighter budgets monthly team",
        "lamplighter budgets --json | jq -r '.budgets[] | select(.is_spent) | .name'",
    )
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_budget)
@json_option
@quiet_option
@talks_to_server
def budgets(connection: Connection, *, names: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Show how much of each budget is spent and set aside, when it renews, and what happens at its limit.

    All budgets, or those NAMEd. What is set aside is the least that wakes cost which have just been let through. The
    figures are those of the server's ledger, up to this moment; docs/budgets.md tells the rules.
    """
    one_form(as_json=as_json, quiet=quiet)
    reply = connection.budgets(names)
    told = reply.body.get("budgets") or []
    if as_json:
        click.echo(reply.text)
    elif quiet:
        for name in dict.fromkeys(str(one["name"]) for one in told):
            click.echo(name)
    else:
        from lamplighter.cli.show.budgeting import show  # noqa: PLC0415 - help should not pay for it

        show(told, now=float(reply.body["at"]), zone=str(reply.body["time_zone"]))
