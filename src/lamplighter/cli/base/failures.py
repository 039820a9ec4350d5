"""How a failure is told: a line or a few on standard error, and the exit code."""

from __future__ import annotations

import click

from lamplighter.cli.base.advice import complete
from lamplighter.errors import LamplighterError


def tell(error: Exception, where_options: str = "") -> int:
    """Print the error, with the commands that it advises acting where this one did; returns the exit code."""
    if isinstance(error, LamplighterError):
        click.echo(f"error: {complete(error.message, where_options)}", err=True)
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror}", err=True)
        return 1
    click.echo(f"error: something that was not thought of: {type(error).__name__}: {error}", err=True)
    click.echo("This is a fault in Lamplighter. The same command with --debug shows where.", err=True)
    return 1


def tell_usage(error: click.ClickException) -> int:
    """Print how the command is used and what was wrong; returns the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    click.echo(f"error: {error.format_message()}", err=True)
    if ctx:
        click.echo(ctx.get_usage(), err=True)
        click.echo(f"`{ctx.command_path} --help` tells more.", err=True)
    return error.exit_code
