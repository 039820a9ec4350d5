"""The options of every command that talks to a server."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from lamplighter.cli.connection import DEFAULT_URL, Connection
from lamplighter.errors import LamplighterError, NotAllowed

_KEY = "LAMPLIGHTER_KEY"
_COMPLETION_PATIENCE = 0.5

F = TypeVar("F", bound=Callable[..., Any])


def talks_to_server(function: F) -> F:
    """Give a command `--server` and `--key-file`, and call it with an open `connection`."""

    @click.option(
        "--server",
        "url",
        envvar="LAMPLIGHTER_URL",
        default=DEFAULT_URL,
        metavar="URL",
        show_default=True,
        show_envvar=True,
        help="The server to talk to.",
    )
    @click.option(
        "--key-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"A file that holds the server's key. By default the key is taken from {_KEY}.",
    )
    @functools.wraps(function)
    def command(*args: Any, url: str, key_file: Path | None, **kwargs: Any) -> Any:
        with Connection(url, read_key(key_file)) as connection:
            return function(*args, connection=connection, **kwargs)

    return command  # type: ignore[return-value]


def read_key(file: Path | None) -> str | None:
    """Find the key. It is never an argument: those are for everybody on the machine to read. Raises NotAllowed."""
    if file is None:
        return os.environ.get(_KEY, "").strip() or None
    try:
        key = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise NotAllowed(f"the key file {file} can't be read: {reason}") from error
    if not key:
        raise NotAllowed(f"the key file {file} is empty")
    return key


def complete_name(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of endpoints, if the server tells them quickly."""
    url = ctx.params.get("url") or os.environ.get("LAMPLIGHTER_URL") or DEFAULT_URL
    try:
        with Connection(url, read_key(None), timeout=_COMPLETION_PATIENCE) as connection:
            endpoints = connection.statuses().endpoints()
    except LamplighterError:
        return []
    return [CompletionItem(e.name, help=e.status) for e in endpoints if e.name.startswith(incomplete)]
