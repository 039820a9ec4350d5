"""`lamplighter completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from lamplighter.cli.base.helping import examples

_INSTALL = {
    "bash": 'Put this into ~/.bashrc:  eval "$(lamplighter completion bash)"',
    "zsh": 'Put this into ~/.zshrc:  eval "$(lamplighter completion zsh)"',
    "fish": "Keep it:  lamplighter completion fish > ~/.config/fish/completions/lamplighter.fish",
}


@click.command(epilog=examples('eval "$(lamplighter completion bash)"'))
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and names of endpoints with Tab.

    Its first line tells where to put it.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "lamplighter", "_LAMPLIGHTER_COMPLETE")
    click.echo(f"# {_INSTALL[shell]}")
    click.echo(script.source())
