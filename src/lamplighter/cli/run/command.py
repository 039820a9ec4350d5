"""`lamplighter run`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import asks_where, complete_name, timeout_option
from lamplighter.cli.reach.place import Asked, find_place

if TYPE_CHECKING:
    from lamplighter.hf.records import Endpoint

_SEPARATOR = "--"


class _Split(click.Command):
    """Takes the names before `--`, and the command behind it with all its own options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index(_SEPARATOR) if _SEPARATOR in args else len(args)
        ctx.meta["command"] = args[at + 1 :]
        rest = super().parse_args(ctx, args[:at])
        if not ctx.meta["command"] and not ctx.resilient_parsing:
            raise click.UsageError("Give the command to run behind `--`: lamplighter run NAME -- COMMAND.", ctx)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND..."]


@click.command(
    cls=_Split,
    epilog=examples(
        "lamplighter run mert -- python embed.py",
        "lamplighter run chat embed --timeout 15m -- sh -c 'curl $CHAT_URL/health $EMBED_URL/health'",
    ),
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_name)
@timeout_option()
@click.option("--no-pause", is_flag=True, help="Leave the endpoints running at the end.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors; the output is the command's alone.")
@asks_where
def run(asked: Asked, names: tuple[str, ...], *, timeout: float, no_pause: bool, quiet: bool) -> int:
    """Start endpoints, run a command, and pause them in every way out; returns the command's exit code.

    The command finds the first endpoint's URL in HF_ENDPOINT_URL and OPENAI_BASE_URL (with /v1), and each one's in
    NAME_URL (`my-model` in MY_MODEL_URL, `120b` in _120B_URL). Several are started side by side. Signals are passed
    on; Ctrl-C during the start pauses what was begun. If we are killed, the endpoints are paused when the session's
    heartbeats are missed; the command is left to itself.
    Exit code 127 if there is no such command: nothing is started then.
    """
    from lamplighter.cli.run.child import find_command  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.run.sessions import Run, execute  # noqa: PLC0415

    words = click.get_current_context().meta["command"]
    path = find_command(words[0])
    return execute(
        Run(find_place(asked), tuple(dict.fromkeys(names)), path, words, timeout, pauses=not no_pause, quiet=quiet)
    )


def environment(endpoints: Sequence[Endpoint], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the command finds in its environment; the first endpoint is the one without a name."""
    urls = {endpoint.name: endpoint.url or "" for endpoint in endpoints}
    first = next(iter(urls.values()))
    named = {name_of: url for name, url in urls.items() for name_of in variables(name)}
    return {**environ, **named, "HF_ENDPOINT_URL": first, "OPENAI_BASE_URL": f"{first}/v1"}


def variables(name: str) -> tuple[str, ...]:
    """The variables of an endpoint's URL: `my-model` → `MY_MODEL_URL`; `120b` → `120B_URL` and `_120B_URL`.

    A shell can't read one that begins with a digit.
    """
    variable = re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_URL"
    return (variable, f"_{variable}") if variable[0].isdigit() else (variable,)
