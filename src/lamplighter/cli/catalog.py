"""`lamplighter catalog`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, json_option, one_form, quiet_option, timeout_option
from lamplighter.cli.reach.place import Asked, find_place
from lamplighter.cli.show.printing import Form, print_json, print_names, print_outcome, tell_where

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lamplighter.hf.records import Endpoint
    from lamplighter.sdk.client import AsyncClient

Item = Mapping[str, Any]


@click.group()
def catalog() -> None:
    """Models that are known to run well, with hardware and settings; list them, or deploy one by its name."""


@catalog.command("list", epilog=examples("lamplighter catalog list --task text-generation --accelerator gpu"))
@click.option("--task", metavar="TASK", help="Only for this task, such as text-generation.")
@click.option("--accelerator", metavar="KIND", help="Only with a recipe for this: cpu, gpu, neuron.")
@click.option("--engine", metavar="NAME", help="Only with a recipe for this engine: llamacpp, sglang, tei, vllm.")
@click.option("--license", "license_", metavar="NAME", help="Only under this licence.")
@click.option("--search", metavar="TEXT", help="Only those whose name holds this.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@json_option
@quiet_option
@asks_where
def list_(asked: Asked, *, license_: str | None, as_json: bool, quiet: bool, **filters: Any) -> None:
    """List the models of the catalog, with what each does and what its recipes run on.

    --quiet prints the repositories, which `lamplighter catalog deploy` takes.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)
    wanted = {name: str(value) for name, value in {**filters, "license": license_}.items() if value is not None}
    found = place.run(lambda client: client.catalog(**wanted))
    if as_json:
        print_json([dict(item) for item in found])
    elif quiet:
        print_names([str(item.get("repoId", "")) for item in found])
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

        console = out()
        console.print(_drawn(found, console.width))


def _drawn(found: Sequence[Item], width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415

    if not found:
        return "The catalog has nothing of that kind."
    columns: list[Column[Item]] = [
        Column("repository", lambda item: Text(str(item.get("repoId", "")), style="bold"), may_be_cut=True),
        Column("task", lambda item: item.get("task")),
        Column("license", lambda item: item.get("license"), may_be_missing=True),
        Column("runs on", lambda item: _of_recipes(item, "accelerator")),
        Column("engine", lambda item: _of_recipes(item, "engineType")),
    ]
    return table(columns, found, width)


def _of_recipes(item: Item, key: str) -> str:
    recipes = item.get("recipes")
    words = [recipe.get(key) for recipe in recipes if isinstance(recipe, Mapping)] if isinstance(recipes, list) else []
    return ", ".join(dict.fromkeys(str(word) for word in words if word))


@catalog.command("deploy", epilog=examples("lamplighter catalog deploy Qwen/Qwen3-8B --name chat --wait"))
@click.argument("repository")
@click.option("--name", metavar="NAME", help="The endpoint's name. By default one is made from the model's.")
@click.option("--accelerator", metavar="KIND", help="Take the recipe for this: cpu, gpu, neuron.")
@click.option("--wait", is_flag=True, help="Wait until it answers.")
@timeout_option()
@json_option
@quiet_option
@asks_where
def deploy(
    asked: Asked,
    repository: str,
    *,
    name: str | None,
    accelerator: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
    quiet: bool,
) -> None:
    """Deploy a model of the catalog with its recipe's hardware and settings.

    It is billed from the moment it is made, until it is stopped or scales to zero.
    """
    one_form(as_json=as_json, quiet=quiet)
    place = find_place(asked)

    async def make(client: AsyncClient) -> Endpoint:
        tell_where(client.where)
        return await client.deploy_from_catalog(repository, name=name, accelerator=accelerator)

    endpoint = place.run(make)
    if wait:
        from lamplighter.cli.reach.arriving import wait_for  # noqa: PLC0415 - help should not pay for it

        endpoint = wait_for([endpoint], place, timeout)[0]
    print_outcome(endpoint, Form(as_json, quiet))
