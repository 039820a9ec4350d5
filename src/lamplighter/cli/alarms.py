"""`lamplighter alarms`: what costs money for nobody or fails, and whether people would be told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import talks_to_server
from lamplighter.cli.reach.connection import Connection, Reply


@click.command(
    epilog=examples("lamplighter alarms", "lamplighter alarms test", "lamplighter alarms --json | jq '.alarms[].text'")
)
@click.argument("action", required=False, type=click.Choice(["test"]))
@click.option("--json", "as_json", is_flag=True, help="Print what the server's API answers, unchanged.")
@talks_to_server
def alarms(connection: Connection, *, action: str | None, as_json: bool) -> int:
    """Show the alarms that stand, what each costs, and the command that mends it.

    With `test`: send a message to every place that the server tells alarms to, and say which of them took it. The exit
    code is 1 where an alarm stands, or a place did not take the message.
    """
    reply = connection.test_alarms() if action else connection.alarms()
    if as_json:
        click.echo(reply.text)
    elif action:
        _show_tested(_places(reply))
    else:
        _show(reply)
    if action:
        return 1 if any(error for _, error in _places(reply)) else 0
    return 1 if reply.body.get("alarms") else 0


def _show(reply: Reply) -> None:
    from lamplighter.cli.show import sounding  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.output import out  # noqa: PLC0415

    console, found = out(), reply.body.get("alarms") or []
    for line in sounding.lines(console, found, time.time()):
        console.print(line, soft_wrap=True)
    if not found:
        console.print("No alarm stands.")
    places = _places(reply)
    if not places:
        console.print(
            "Nobody is told of alarms: set `alarms.webhook` or `alarms.urls` in lamplighter.yaml.", style="dim"
        )
    for name, error in places:
        console.print(f"told at {name}" + (f"; the last attempt failed: {error}" if error else ""), style="dim")


def _show_tested(places: Sequence[tuple[str, str | None]]) -> None:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.output import out, pick  # noqa: PLC0415

    console = out()
    for name, error in places:
        sign, look = (pick(console, "✗", "!"), "red") if error else (pick(console, "✓", "+"), "green")
        console.print(Text.assemble((sign, look), f" {name}: ", error or "taken"), soft_wrap=True)
    if not places:
        console.print("There is no place to send to: set `alarms.webhook` or `alarms.urls` in lamplighter.yaml.")


def _places(reply: Reply) -> list[tuple[str, str | None]]:
    found: Sequence[Mapping[str, Any]] = reply.body.get("places") or []
    return [(str(one.get("name")), one.get("error")) for one in found]
