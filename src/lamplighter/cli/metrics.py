"""`lamplighter metrics`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import DURATION, asks_where, complete_name, json_option, one_form, quiet_option
from lamplighter.cli.reach.place import Asked, find_place
from lamplighter.cli.show.printing import print_json

if TYPE_CHECKING:
    from lamplighter.hf.records import Metrics

_UNKNOWN = "not told"


@click.command(epilog=examples("lamplighter metrics mert", "lamplighter metrics mert --window 7d --json"))
@click.argument("name", shell_complete=complete_name)
@click.option(
    "--window",
    type=DURATION,
    default=86400.0,
    show_default="24h",
    metavar="DURATION",
    help="Of the time until now: 24h, 7d.",
)
@json_option
@quiet_option
@asks_where
def metrics(asked: Asked, name: str, *, window: float, as_json: bool, quiet: bool) -> None:
    """Show what an endpoint did in a stretch of time until now: uptime, requests, tokens, and what that cost about.

    What the plan or the server has no figure for is said so; nothing is invented.
    """
    one_form(as_json=as_json, quiet=quiet)
    if window <= 0:
        raise click.UsageError("--window has to be longer than nothing.")
    place = find_place(asked)
    found = place.run(lambda client: client.metrics(name, window=window))
    if as_json:
        print_json({"name": name, **{key: value for key, value in dataclasses.asdict(found).items() if key != "raw"}})
    elif quiet:
        click.echo(name)
    else:
        from rich.console import Group  # noqa: PLC0415 - help should not pay for it
        from rich.text import Text  # noqa: PLC0415

        from lamplighter.cli.show.output import out  # noqa: PLC0415
        from lamplighter.cli.show.table import facts  # noqa: PLC0415
        from lamplighter.cli.show.words import whole  # noqa: PLC0415

        head = Text.assemble((name, "bold"), f" in the last {whole(found.window)}")
        out().print(Group(head, facts(list(_said(found)))))


def _said(found: Metrics) -> Iterator[tuple[str, str]]:
    from lamplighter.cli.show.words import whole  # noqa: PLC0415 - help should not pay for it

    yield "uptime", _UNKNOWN if found.uptime is None else f"{whole(found.uptime)} ({found.uptime / found.window:.0%})"
    for word, count in (("requests", found.requests), ("errors", found.errors), ("tokens", found.tokens)):
        yield word, _UNKNOWN if count is None else f"{count:,}"
    yield "cost", _cost(found)


def _cost(found: Metrics) -> str:
    """What it cost, and how that is known."""
    from lamplighter.cli.show.amounts import shown  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.portrayal import dollars  # noqa: PLC0415
    from lamplighter.cli.show.words import whole  # noqa: PLC0415

    rate = dollars(found.price_per_hour, " per replica and hour")
    if found.cost is None:
        return _UNKNOWN
    if found.cost_source == "ledger":
        unpriced = f"; for {whole(found.unpriced)} no price was known" if found.unpriced else ""
        return f"{shown(Decimal(str(found.cost)))}, charged by the server's ledger{unpriced}"
    cost = dollars(round(found.cost, 2))
    return f"about {cost}, estimated" + (f" at {rate}" if rate else "")
