"""A group of commands that are imported when they are used, so that `--help` costs nothing but click."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(slots=True)
class Session:
    """What holds for one run of the command line. `where_options` say where it acts, as they would be typed again."""

    debug: bool = False
    where_options: str = ""


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a command is ("package.module:name"), and what the list of commands says of it, under which heading."""

    place: str
    summary: str
    section: str = "Commands"

    def load(self) -> click.Command:
        """Import it."""
        module, _, name = self.place.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


def debug_option() -> click.Option:
    """`--debug`, which is taken before the verb and behind it."""
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_remember, help="Show the traceback of an error."
    )


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and (session := ctx.find_object(Session)):
        session.debug = True


class LazyGroup(click.Group):
    """Its commands in the order of `verbs`, under their headings."""

    def __init__(self, *args: Any, verbs: Mapping[str, Verb], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.verbs = verbs
        self.params.append(debug_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        verb = self.verbs.get(cmd_name)
        if verb is None:
            return None
        command = verb.load()
        _take_debug(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in self.verbs or name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name[:80], self.verbs, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.verbs)}."
        raise click.UsageError(f"There is no command {name[:80]!r}; {hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        width = max(map(len, self.verbs))  # all sections alike
        for section in dict.fromkeys(verb.section for verb in self.verbs.values()):
            mine = [(name, verb.summary) for name, verb in self.verbs.items() if verb.section == section]
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in mine])


def _take_debug(command: click.Command) -> None:
    """Let a command, and those below it, take `--debug` as well."""
    if not any(param.name == "debug" for param in command.params):
        command.params.append(debug_option())
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _take_debug(inner)
