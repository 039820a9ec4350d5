"""`lamplighter hardware`."""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, json_option, one_form, quiet_option
from lamplighter.cli.reach.cloud_prices import with_judged_prices
from lamplighter.cli.reach.place import Asked, find_place
from lamplighter.cli.show.printing import print_json, print_names
from lamplighter.domain.prices import Refusal, names_of
from lamplighter.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lamplighter.domain.hardware import Hardware

_FILTERS = ("vendor", "region", "accelerator", "instance_type", "instance_size")


@click.command(
    epilog=examples(
        "lamplighter hardware --accelerator gpu --vendor aws",
        "lamplighter hardware --instance-type nvidia-l4 --all",
        "lamplighter hardware --json | jq 'map(select(.price_per_hour < 1))'",
    )
)
@click.option("--vendor", metavar="NAME", help="Only of this vendor: aws, azure, gcp, …")
@click.option("--region", metavar="NAME", help="Only in this region, such as us-east-1.")
@click.option("--accelerator", metavar="KIND", help="Only with this: cpu, gpu, neuron.")
@click.option("--instance-type", metavar="TYPE", help="Only this kind of machine, such as nvidia-l4.")
@click.option("--instance-size", metavar="SIZE", help="Only this size: x1, x2, x4, x8.")
@click.option("--all", "everything", is_flag=True, help="Also what can't be deployed now: no quota left, or none free.")
@json_option
@quiet_option
@asks_where
def hardware(
    asked: Asked,
    *,
    vendor: str | None,
    region: str | None,
    accelerator: str | None,
    instance_type: str | None,
    instance_size: str | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List what an endpoint can be deployed on, cheapest first: price per replica and hour, memory, quota left.

    Prices are in US dollars; a server says who told them, and how long ago that was found to hold. --quiet prints the
    ids.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    wanted = dict(zip(_FILTERS, (vendor, region, accelerator, instance_type, instance_size), strict=True))
    listed: Sequence[Hardware] = place.run(lambda client: client.hardware())
    refused: Sequence[Refusal] = ()
    if place.is_cloud:  # a server has judged them
        listed, refused = with_judged_prices(listed, time.time())
    found = chosen(listed, wanted)
    shown = [one for one in found if everything or one.deployable]
    if as_json:
        print_json([_as_json(one) for one in shown])
    elif quiet:
        print_names([one.id for one in shown])
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

        console = out()
        console.print(_drawn(shown, console.width, hidden=len(found) - len(shown), where=place.title))
    for text in names_of(refused):
        click.echo(f"A price is not believed: {text}", err=True)


def _as_json(one: Hardware) -> dict[str, object]:
    exact = {"price", "price_currency", "price_unit"}  # for who reckons with it; `price_per_hour` says the same
    fields = {key: value for key, value in dataclasses.asdict(one).items() if key not in exact}
    return {**fields, "deployable": one.deployable}


def chosen(found: Sequence[Hardware], wanted: Mapping[str, str | None]) -> list[Hardware]:
    """Those that have what is wanted, cheapest first. Raises InvalidInput for a word that nothing has."""
    left = list(found)
    for field, word in wanted.items():
        if word is None:
            continue
        known = {str(getattr(one, field)) for one in left}
        if word not in known:
            raise InvalidInput(_unknown(field, word, sorted(known), wanted), field=field)
        left = [one for one in left if getattr(one, field) == word]
    return sorted(left, key=lambda one: (one.price_per_hour is None, one.price_per_hour or 0.0, one.id))


def _unknown(field: str, word: str, known: Sequence[str], wanted: Mapping[str, str | None]) -> str:
    before = [wanted[name] for name in _FILTERS[: _FILTERS.index(field)] if wanted[name]]
    among = f" among those of {', '.join(str(name) for name in before)}" if before else ""
    near = difflib.get_close_matches(word[:80], known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
    return f"--{field.replace('_', '-')}: there is no {word!r}{among}; {hint}"


def _drawn(shown: Sequence[Hardware], width: int, *, hidden: int, where: str) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - help should not pay for it
    from rich.text import Text  # noqa: PLC0415

    note = f"{hidden} more can't be deployed now (no quota left, or not available); --all shows them."
    if not shown:
        return note if hidden else f"{where} tells of no hardware."
    return Group(_table(shown, width), *([Text(note, style="dim")] if hidden else []))


def _table(shown: Sequence[Hardware], width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.portrayal import dollars  # noqa: PLC0415
    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415

    columns: list[Column[Hardware]] = [
        Column("where", lambda one: f"{one.vendor} {one.region}"),
        Column("kind", lambda one: one.accelerator),
        Column("instance", lambda one: Text(f"{one.instance_type} {one.instance_size}", style="bold")),
        Column("is", lambda one: one.architecture, may_be_cut=True, may_be_missing=True),
        Column("memory", lambda one: _gigabytes(one.memory_gb), "right", may_be_missing=True),
        Column("GPU", lambda one: _gigabytes(one.gpu_memory_gb), "right"),
        Column("per hour", lambda one: dollars(one.price_per_hour), "right"),
        Column("price told by", _told, may_be_missing=True),
        Column("quota left", _quota, "right"),
        Column("status", lambda one: None if one.status == "available" else one.status.replace("_", " ")),
    ]
    return table(columns, shown, width)


def _told(one: Hardware) -> str | None:
    """Who told the price, and how long ago it was found to hold; nothing of one that was told just now."""
    from lamplighter.cli.show.words import ago  # noqa: PLC0415 - help should not pay for it

    if not one.price_source or one.price_per_hour is None:
        return None
    return one.price_source if one.price_age is None else f"{one.price_source}, {ago(one.price_age)}"


def _gigabytes(amount: float | None) -> str | None:
    return None if amount is None else f"{amount:g} GB"


def _quota(one: Hardware) -> str:
    return f"{one.max_accelerators - one.used_accelerators} of {one.max_accelerators}"
