"""`lamplighter init` and `lamplighter config`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import json_option
from lamplighter.cli.show.words import count, one_line, whole
from lamplighter.domain.endpoint import Spec
from lamplighter.domain.routing import Choose, Route, RouteTarget, Upstream, WhileWaking
from lamplighter.errors import Conflict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lamplighter.config import InForce

_FILE_NAME = "lamplighter.yaml"


@click.command(epilog=examples("lamplighter init && lamplighter serve"))
@click.argument("path", type=click.Path(path_type=Path), default=Path(_FILE_NAME))
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def init(path: Path, force: bool) -> None:
    """Write a configuration to start from: one small chat model, and comments that show what else can be set.

    Writes ./lamplighter.yaml unless PATH names another file.
    """
    from lamplighter.config import starter_yaml  # noqa: PLC0415 - help should not pay for it

    target = path / _FILE_NAME if path.is_dir() else path
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(starter_yaml())
    except FileExistsError:
        raise Conflict(f"{target} is there already; --force overwrites it") from None
    option = "" if target == Path(_FILE_NAME) else f" --config {target}"
    click.echo(f"Wrote {target}: one endpoint, `chat`, with a small model that is fetched at the first wake.")
    click.echo(f"Next:  lamplighter serve{option}")
    click.echo("Then:  lamplighter status")


@click.group()
def config() -> None:
    """Check the configuration, show what of it counts, or print its schema."""


@config.command(epilog=examples("lamplighter config check lamplighter.yaml"))
@click.argument("path", required=False, type=click.Path(path_type=Path))
def check(path: Path | None) -> None:
    """Check the configuration whole, and tell of all that is wrong with it, with file and line. Starts nothing.

    Without PATH: the file that `serve` would take.
    """
    from lamplighter.cli.checking import check_engines  # noqa: PLC0415 - help should not pay for it
    from lamplighter.config import load  # noqa: PLC0415

    settings = load(path)
    specs = list(settings.specs().values())
    check_engines(settings)
    for text in settings.warnings:
        click.echo(f"warning: {text}", err=True)
    routes, upstreams = settings.routes().values(), settings.upstreams().values()
    more = "".join(
        f", {count(len(found), thing)}" for found, thing in ((upstreams, "upstream"), (routes, "route")) if found
    )
    click.echo(f"ok: {count(len(specs), 'endpoint')}{more} ({settings.source})")
    for line in (*map(_described, specs), *map(_upstream, upstreams), *map(_route, routes)):
        click.echo(f"  {line}")


@config.command(
    epilog=examples(
        "lamplighter config show",
        "lamplighter config show --said",
        "lamplighter config show --json | jq -r '.settings[] | select(.origin == \"environment\") | .key'",
    )
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--said", is_flag=True, help="Leave out what is built in.")
@json_option
def show(path: Path | None, *, said: bool, as_json: bool) -> None:
    """Show what `serve` would work with, key by key, and who said so: the file with its line, or the environment.

    Without PATH: the file that `serve` would take. Of what may hold secrets the places are shown, and nothing else. An
    endpoint has what it does not say itself from `defaults`.
    """
    from lamplighter.api.settings import AllSettings, Configured  # noqa: PLC0415 - help should not pay for it
    from lamplighter.config import in_force, load  # noqa: PLC0415

    settings = load(path)
    rows = [row for row in in_force(settings) if not said or row.origin != "built in"]
    if as_json:
        told = AllSettings.of(Configured(settings, rows)).model_dump(mode="json", exclude={"success"})
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    from lamplighter.cli.show.output import out  # noqa: PLC0415

    console = out()
    console.print(_table_of(rows, console.width))


@config.command(epilog=examples("lamplighter config schema > lamplighter.schema.json"))
def schema() -> None:
    """Print the JSON schema of the configuration, for editors and other programs."""
    from lamplighter.config import json_schema  # noqa: PLC0415 - help should not pay for it

    click.echo(json.dumps(json_schema(), indent=2))


def _table_of(rows: Sequence[InForce], width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415

    columns: list[Column[InForce]] = [
        Column("key", lambda one: Text(one.key, style="bold")),
        Column("value", lambda one: one_line(one.text), may_wrap=True),
        Column("said by", _said_by, may_wrap=True),
    ]
    return table(columns, rows, width)


def _said_by(row: InForce) -> str | None:
    if row.place is None:
        return None
    return row.place.source if row.place.line is None else f"{row.place.source}:{row.place.line}"


def _place(spec: Spec) -> str:
    """Where an endpoint is that lives elsewhere."""
    if spec.remote is None:
        return "-"
    name = spec.remote.name or spec.name
    return spec.remote.url or (f"{spec.remote.namespace}/{name}" if spec.remote.namespace else name)


def _described(spec: Spec) -> str:
    names = f" (also {', '.join(spec.aliases)})" if spec.aliases else ""
    what = spec.engine.model or " ".join(spec.engine.command) or _place(spec)
    idle = spec.policy.idle_timeout
    rest = "never sleeps by itself" if idle is None else f"sleeps after {whole(idle)}"
    warm = ", kept warm" if spec.policy.keep_warm else ""
    return f"{spec.name}{names}: {what} on {spec.engine.engine} at {spec.provider}, {rest}{warm}"


def _upstream(upstream: Upstream) -> str:
    model = f", as {upstream.model}" if upstream.model else ""
    return f"upstream {upstream.name}: {upstream.url}{model}"


def _route(route: Route) -> str:
    names = f" (also {', '.join(route.aliases)})" if route.aliases else ""
    way = ", then ".join(" or ".join(map(_target, tier)) for tier in route.tiers)
    way = f"the cheapest of {way}" if route.choose is Choose.CHEAPEST else way
    return f"route {route.name}{names}: {way}{_WAITS[route.while_waking]}{', rents' if route.rent else ''}"


_WAITS = {
    WhileWaking.HOLD: "",
    WhileWaking.BRIDGE: "; bridges a wake",
    WhileWaking.FAIL: "; waits for no wake",
}


def _target(target: RouteTarget) -> str:
    return f"{target.name} as {target.model}" if target.model else target.name
