"""How verbs print endpoints: words for people, JSON for programs, names alone for shells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from lamplighter.hf.records import Endpoint


@dataclass(frozen=True, slots=True)
class Form:
    """The form of output that was asked for."""

    as_json: bool = False
    quiet: bool = False


def print_json(value: Any) -> None:
    """Print JSON as people can read it, too."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_names(names: Sequence[str]) -> None:
    """Print names alone, one a line."""
    for name in names:
        click.echo(name)


def tell_where(where: str) -> None:
    """Say on standard error where something is about to be changed."""
    click.echo(f"at {where}", err=True)


def print_outcome(endpoint: Endpoint, form: Form, *, took: float | None = None) -> None:
    """What became of an endpoint: its state, what that means, and how to get out of it."""
    from lamplighter.cli.show.facts import as_json  # noqa: PLC0415 - help should not pay for it

    if form.as_json:
        print_json(as_json(endpoint))
    elif form.quiet:
        click.echo(endpoint.name)
    else:
        _print_words(endpoint, took)


def _print_words(endpoint: Endpoint, took: float | None) -> None:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.base.advice import completed  # noqa: PLC0415
    from lamplighter.cli.show.output import out, style  # noqa: PLC0415
    from lamplighter.cli.show.words import span  # noqa: PLC0415
    from lamplighter.sdk.status import Status  # noqa: PLC0415

    when = f" after {span(took)}" if took is not None else ""
    state = (endpoint.state, style(endpoint.phase.value))
    out().print(
        Text.assemble((endpoint.name, "bold"), " is ", state, when, ". ", completed(Status.of(endpoint).meaning)),
        soft_wrap=True,
    )
