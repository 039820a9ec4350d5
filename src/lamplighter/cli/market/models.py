"""`lamplighter models`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, json_option, one_form, quiet_option
from lamplighter.cli.reach.place import Asked, find_place
from lamplighter.cli.show.printing import print_json, print_names

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lamplighter.domain.offers import ModelRecord
    from lamplighter.sdk.market import ModelList

_MOST = 10_000
_MOST_NAMED = 3


@click.command(
    epilog=examples(
        "lamplighter models --task text-generation --sort trending",
        "lamplighter models --search qwen --license apache-2.0 --limit 100",
        "lamplighter models --served --task text --json | jq -r '.models[].id'",
    )
)
@click.option("--search", metavar="TEXT", help="Only those whose name holds this.")
@click.option("--author", metavar="NAME", help="Only those of this user or organization.")
@click.option("--task", metavar="TASK", help="Only for this: a task such as text-to-image, or text, image, audio, ….")
@click.option("--license", "license_", metavar="NAME", help="Only under this licence, such as apache-2.0.")
@click.option("--provider", metavar="NAME", help="Only those that this provider serves.")
@click.option("--served", is_flag=True, help="Only those that somebody serves by the token.")
@click.option(
    "--sort",
    type=click.Choice(["downloads", "likes", "trending", "created", "modified"]),
    help="The most, or the newest, first.",
)
@click.option(
    "--limit", type=click.IntRange(1, _MOST), default=20, show_default=True, metavar="N", help="At most so many."
)
@json_option
@quiet_option
@asks_where
def models(asked: Asked, *, license_: str | None, as_json: bool, quiet: bool, limit: int, **wanted: Any) -> None:
    """List models: what each does, its size and licence, and who serves it.

    They are the Hub's; a server lists those of all its marketplaces. --quiet prints the names.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    found = place.run(lambda client: client.models(license=license_, limit=limit, **wanted))
    if as_json:
        listed = [dataclasses.asdict(model) for model in found]
        print_json({"models": listed, "more": found.more, "age": found.age, "trouble": found.trouble})
    elif quiet:
        print_names([model.id for model in found])
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

        console = out()
        console.print(_drawn(found, console.width))


def _drawn(found: ModelList, width: int) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - help should not pay for it
    from rich.text import Text  # noqa: PLC0415

    from lamplighter.cli.show.words import ago, one_line  # noqa: PLC0415

    notes = ["There are more: --limit shows them."] if found.more else []
    if found.trouble:
        notes.append(f"Told {ago(found.age)}; nothing newer is known: {one_line(found.trouble)}")
    return Group(
        _table(found, width) if found else "There is no such model.", *(Text(note, style="dim") for note in notes)
    )


def _table(found: ModelList, width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415

    columns: list[Column[ModelRecord]] = [
        Column("model", lambda one: Text(one_line(one.id), style="bold"), may_be_cut=True),
        Column("task", lambda one: one_line(one.task) if one.task else None, may_be_missing=True),
        Column("size", lambda one: rounded(one.parameters), "right"),
        Column("context", lambda one: rounded(one.context), "right"),
        Column("license", lambda one: one_line(one.license) if one.license else None, may_be_cut=True),
        Column("downloads", lambda one: rounded(one.downloads), "right", may_be_missing=True),
        Column("served by", _served, may_be_cut=True, may_be_missing=True),
        Column("access", lambda one: "gated" if one.gated else None, may_be_missing=True),
    ]
    return table(columns, found, width)


def _served(one: ModelRecord) -> str | None:
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415 - help should not pay for it

    live = [one_line(served.provider) for served in one.providers if served.status in {"live", ""}]
    more = f" and {len(live) - _MOST_NAMED} more" if len(live) > _MOST_NAMED else ""
    return ", ".join(live[:_MOST_NAMED]) + more or None


def rounded(number: int | None) -> str | None:
    """A large number in three figures: 7.62B, 131K."""
    if number is None:
        return None
    for least, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= least:
            return f"{number / least:.3g}{letter}"
    return str(number)
