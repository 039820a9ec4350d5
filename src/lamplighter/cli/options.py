"""The options that many commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from lamplighter.cli.base.advice import remember_options
from lamplighter.cli.reach.connection import DEFAULT_URL, Connection
from lamplighter.cli.reach.place import Asked, Place, find_place, read_key
from lamplighter.errors import LamplighterError

_COMPLETION_PATIENCE = 0.5
_COMPLETION_PATIENCE_AFAR = 3.0

F = TypeVar("F", bound=Callable[..., Any])


class DurationType(click.ParamType[float]):
    """Seconds, or a duration such as 90s, 15m or 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from lamplighter.config.quantities import parse_duration  # noqa: PLC0415 - help should not pay for it

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


DURATION = DurationType()

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print names alone, one a line.")
watch_option = click.option("--watch", "watching", is_flag=True, help="Go on showing changes until Ctrl-C.")


def timeout_option(default: str = "10m") -> Callable[[F], F]:
    """`--timeout`, for verbs that wait; they get seconds."""
    return click.option(
        "--timeout",
        type=DURATION,
        default=default,
        show_default=True,
        metavar="DURATION",
        help="How long to wait, in seconds or as 10m; then the exit code is 5, and what was begun goes on.",
    )


def one_form(*, as_json: bool, quiet: bool, watching: bool = False) -> None:
    """Refuse forms of output that exclude each other. Raises click.UsageError."""
    if as_json and quiet:
        raise click.UsageError("--json and --quiet exclude each other.")
    if watching and quiet:
        raise click.UsageError("--watch and --quiet exclude each other.")


_SERVER = click.option(
    "--server",
    metavar="URL",
    help="Act at this Lamplighter server. By default: where LAMPLIGHTER_URL says, else a server on this machine "
    f"({DEFAULT_URL}), else Hugging Face.",
)
_CLOUD = click.option(
    "--cloud", is_flag=True, help="Act at Hugging Face, with the token of HF_TOKEN or `hf auth login`."
)
_KEY_FILE = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file that holds the server's key. By default the key is taken from LAMPLIGHTER_KEY.",
)
_TOKEN_FILE = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file that holds the Hugging Face token to use instead.",
)


def asks_where(function: F) -> F:
    """Give a command the options that say where it acts, and call it with them as `asked`."""
    return _asks_where(function, "those of the token's owner")


def asks_everywhere(function: F) -> F:
    """The same, for a command that looks at all namespaces."""
    return _asks_where(function, "all that the token can see")


def _asks_where(function: F, whose: str) -> F:
    @_SERVER
    @_CLOUD
    @click.option("--namespace", "-n", metavar="NAME", help=f"Whose endpoints. By default {whose}.")
    @_KEY_FILE
    @_TOKEN_FILE
    @functools.wraps(function)
    def command(
        *args: Any,
        server: str | None,
        cloud: bool,
        namespace: str | None,
        key_file: Path | None,
        token_file: Path | None,
        **kwargs: Any,
    ) -> Any:
        asked = Asked(server=server, cloud=cloud, namespace=namespace, key_file=key_file, token_file=token_file)
        remember_options(asked.options)
        return function(*args, asked=asked, **kwargs)

    return command  # type: ignore[return-value]


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
    @_KEY_FILE
    @functools.wraps(function)
    def command(*args: Any, url: str, key_file: Path | None, **kwargs: Any) -> Any:
        remember_options(Asked(server=None if url == DEFAULT_URL else url, key_file=key_file).options)
        with Connection(url, read_key(key_file)) as connection:
            return function(*args, connection=connection, **kwargs)

    return command  # type: ignore[return-value]


def complete_name(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of endpoints, if they are told quickly."""
    try:
        place = _place_of(ctx)
        names = _names_afar(place) if place.is_cloud else _names_at(place)
    except (LamplighterError, TimeoutError):
        return []
    return [CompletionItem(name, help=state) for name, state in names if name.startswith(incomplete)]


def _place_of(ctx: click.Context) -> Place:
    given = ctx.params
    if url := given.get("url"):
        return Place(url, read_key(None))
    return find_place(
        Asked(
            server=given.get("server"),
            cloud=bool(given.get("cloud")),
            namespace=given.get("namespace"),
            key_file=given.get("key_file"),
            token_file=given.get("token_file"),
        )
    )


def _names_at(place: Place) -> list[tuple[str, str]]:
    assert place.url
    with Connection(place.url, place.key, timeout=_COMPLETION_PATIENCE) as connection:
        return [(endpoint.name, endpoint.status) for endpoint in connection.statuses().endpoints()]


def _names_afar(place: Place) -> list[tuple[str, str]]:
    import asyncio  # noqa: PLC0415 - help should not pay for it

    from lamplighter.sdk.client import AsyncClient  # noqa: PLC0415

    async def ask(client: AsyncClient) -> list[tuple[str, str]]:
        async with asyncio.timeout(_COMPLETION_PATIENCE_AFAR):
            return [(endpoint.name, endpoint.state) for endpoint in await client.list()]

    return place.run(ask)
