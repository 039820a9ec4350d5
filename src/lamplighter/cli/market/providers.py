"""`lamplighter providers`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import json_option, one_form, quiet_option
from lamplighter.cli.show.printing import print_json, print_names

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lamplighter.providers.kinds import ProviderKind

_WORDS = {
    "deploys": "deploys",
    "sleeps": "sleeps",
    "lists_models": "lists models",
    "prices": "prices",
    "runs_inference": "runs inference",
}


@click.command(
    epilog=examples("lamplighter providers", "lamplighter providers --json | jq '.[] | select(.configured)'")
)
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The configuration to look into. By default the one that `serve` would take.",
)
@json_option
@quiet_option
def providers(*, path: Path | None, as_json: bool, quiet: bool) -> None:
    """List the kinds of provider that there are: where each comes from, what it can do, what its use still takes.

    A plug-in is any package with an entry point in the group `lamplighter.providers`. Asks nobody. --quiet prints the
    keys.
    """
    from lamplighter.providers.kinds import provider_kinds  # noqa: PLC0415 - help should not pay for it

    one_form(as_json=as_json, quiet=quiet)
    found, configured = provider_kinds(), _configured(path)
    if as_json:
        print_json([_document(kind, configured.get(kind.key, ())) for kind in found])
    elif quiet:
        print_names(list(dict.fromkeys(kind.key for kind in found)))
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415

        console = out()
        console.print(_table(found, configured, console.width))


def _configured(path: Path | None) -> Mapping[str, Sequence[str]]:
    """The names of the configured providers by their kind; of none where there is no configuration.

    Raises ConfigError for one that is wrong.
    """
    import os  # noqa: PLC0415 - help should not pay for it

    from lamplighter.config import load  # noqa: PLC0415
    from lamplighter.config.settings import find  # noqa: PLC0415
    from lamplighter.errors import ConfigError  # noqa: PLC0415

    if path is None:
        try:
            path = find(os.environ)
        except ConfigError:
            return {}
    by_kind: dict[str, list[str]] = {}
    for name, provider in load(path).providers.items():
        by_kind.setdefault(provider.type or name, []).append(name)
    return by_kind


def _document(kind: ProviderKind, names: Sequence[str]) -> dict[str, object]:
    return {**dataclasses.asdict(kind), "configured": bool(names), "names": list(names)}


def _table(found: Sequence[ProviderKind], configured: Mapping[str, Sequence[str]], width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415

    columns: list[Column[ProviderKind]] = [
        Column("provider", lambda kind: Text(kind.key, style="bold")),
        Column("comes from", lambda kind: kind.origin, may_be_cut=True),
        Column("can", _abilities, may_wrap=True),
        Column("configured", lambda kind: ", ".join(configured.get(kind.key, ())) or "no", may_wrap=True),
        Column("missing", _missing, may_wrap=True),
    ]
    return table(columns, found, width)


def _abilities(kind: ProviderKind) -> str | None:
    if kind.abilities is None:
        return None if kind.trouble else "does not say"
    return ", ".join(word for name, word in _WORDS.items() if getattr(kind.abilities, name)) or "nothing"


def _missing(kind: ProviderKind) -> str | None:
    from lamplighter.cli.show.words import one_line  # noqa: PLC0415 - help should not pay for it

    return one_line(kind.trouble) if kind.trouble else " ".join(map(one_line, kind.missing)) or None
