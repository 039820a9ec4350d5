"""`lamplighter key`: make a key, list all, take one back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import DURATION, complete_name, json_option, one_form, quiet_option, talks_to_server
from lamplighter.cli.reach.connection import Connection
from lamplighter.cli.show.printing import print_json, print_names
from lamplighter.domain.keyrules import LONGEST_LIFE

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

Key = Mapping[str, Any]

_BOUNDS = (("requests_per_minute", "requests/min"), ("tokens_per_minute", "tokens/min"), ("concurrent", "at once"))


@click.group()
def key() -> None:
    """Make the keys that open a server, list them, take one back. Needs a key with the role `admin`."""


class TagType(click.ParamType[tuple[str, str]]):
    """A name and a value: team=search."""

    name = "tag"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, sign, said = str(value).partition("=")
        if not sign or not name:
            self.fail(f"{value!r} should be a name and a value: team=search", param, ctx)
        return name, said


def _each_once(
    ctx: click.Context, param: click.Parameter, tags: Sequence[tuple[str, str]]
) -> Sequence[tuple[str, str]]:
    for name, count in Counter(name for name, _ in tags).items():
        if count > 1:
            values = " and ".join(repr(value) for tag, value in tags if tag == name)
            raise click.BadParameter(f"{name!r} is given {count} times ({values}); a tag has one value.", ctx, param)
    return tags


def _not_too_late(ctx: click.Context, param: click.Parameter, seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds <= LONGEST_LIFE:
        longest = f"{LONGEST_LIFE / 86400:.0f}d"
        raise click.BadParameter(f"should be more than nothing and at most {longest}, or left out.", ctx, param)
    return seconds


_bound = click.IntRange(min=1)


@key.command(
    epilog=examples(
        "lamplighter key create root --role admin > root.key",
        "lamplighter key create ci --route chat --rpm 60 --tpm 100000 --expires 30d",
        "LAMPLIGHTER_KEY=$(cat root.key) lamplighter key create night --no-wake --priority -10 --tag team=search",
    )
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["infer", "operate", "admin"]),
    default="infer",
    show_default=True,
    help="infer calls models; operate also wakes, puts to sleep and looks; admin may do everything.",
)
@click.option(
    "--route",
    "routes",
    multiple=True,
    metavar="MODEL",
    shell_complete=complete_name,
    help="A model that it may call, by name or alias; give it again for more. By default all that the server has. "
    "ORGANIZATION/MODEL lets it call that one elsewhere, with the server's token.",
)
@click.option("--rpm", type=_bound, metavar="NUMBER", help="At most so many requests a minute.")
@click.option("--tpm", type=_bound, metavar="NUMBER", help="At most so many tokens a minute, in and out.")
@click.option("--concurrent", type=_bound, metavar="NUMBER", help="At most so many requests at once.")
@click.option("--no-wake", is_flag=True, help="Its requests wake nothing: they are served where a model is awake.")
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    default=0,
    show_default=True,
    metavar="NUMBER",
    help="Where requests wait, the higher ones go first.",
)
@click.option(
    "--tag",
    "tags",
    type=TagType(),
    multiple=True,
    callback=_each_once,
    metavar="NAME=VALUE",
    help="Whom its use is charged to, for reports; give it again for more.",
)
@click.option(
    "--expires",
    type=DURATION,
    callback=_not_too_late,
    metavar="DURATION",
    help="It ends by itself after this: 12h, 30d.",
)
@json_option
@quiet_option
@talks_to_server
def create(
    connection: Connection,
    name: str,
    *,
    role: str,
    routes: Sequence[str],
    rpm: int | None,
    tpm: int | None,
    concurrent: int | None,
    no_wake: bool,
    priority: int,
    tags: Sequence[tuple[str, str]],
    expires: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a key. It is printed this once, alone on standard output, and kept nowhere: redirect it to a file.

    The first key closes a server that had none, to everybody without one; it must have the role admin.
    """
    one_form(as_json=as_json, quiet=quiet)
    form = {
        "name": name,
        "role": role,
        "routes": list(routes),
        "may_wake": not no_wake,
        "priority": priority,
        "limits": {"requests_per_minute": rpm, "tokens_per_minute": tpm, "concurrent": concurrent},
        "tags": dict(tags),
        "expires_in": expires,
    }
    made = connection.create_key(form).body
    if as_json:
        print_json({name: value for name, value in made.items() if name != "success"})
        return
    click.echo(str(made.get("secret", "")))
    if not quiet:
        _tell_made(made, connection.url)


def _tell_made(made: Mapping[str, Any], url: str) -> None:
    key = made.get("key") or {}
    click.echo(f"Made key {key.get('name')} ({key.get('id')}) at {url}: {_described(key)}.", err=True)
    click.echo("Keep it now: it is not shown again.", err=True)
    if made.get("closed_server"):
        click.echo(
            "This was the server's first key: from now on nobody comes in without one. Put it into LAMPLIGHTER_KEY, or "
            "name its file with --key-file.",
            err=True,
        )


@key.command("list", epilog=examples("lamplighter key list", "lamplighter key list --all --json | jq '.[].name'"))
@click.option("--all", "everything", is_flag=True, help="Also those that were revoked or have expired.")
@json_option
@quiet_option
@talks_to_server
def list_(connection: Connection, *, everything: bool, as_json: bool, quiet: bool) -> None:
    """List the keys: what each may do, how much, and until when. What opens anything is not among it."""
    one_form(as_json=as_json, quiet=quiet)
    found = [one for one in connection.keys().body.get("keys") or [] if everything or one.get("counts")]
    if as_json:
        print_json(found)
    elif quiet:
        print_names([str(one.get("name", "")) for one in found])
    else:
        from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

        console = out()
        console.print(_drawn(found, console.width))


@key.command(epilog=examples("lamplighter key revoke ci"))
@click.argument("name")
@json_option
@quiet_option
@talks_to_server
def revoke(connection: Connection, name: str, *, as_json: bool, quiet: bool) -> None:
    """Take a key back, by its name or id: it opens nothing from this moment on."""
    one_form(as_json=as_json, quiet=quiet)
    key = connection.revoke_key(name).body.get("key") or {}
    if as_json:
        print_json(key)
    elif quiet:
        click.echo(str(key.get("name", "")))
    else:
        click.echo(f"Revoked key {key.get('name')} ({key.get('id')}): it opens nothing any more.")


def _drawn(found: Sequence[Key], width: int) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415

    if not found:
        return "There is no key. `lamplighter key create NAME --role admin` makes the first one, and closes the server."
    columns: list[Column[Key]] = [
        Column("name", lambda one: Text(str(one.get("name")), style="bold")),
        Column("id", lambda one: str(one.get("id"))),
        Column("role", lambda one: str(one.get("role"))),
        Column("models", lambda one: ", ".join(one.get("routes") or ()) or "all", may_wrap=True),
        Column("limits", _limits, may_wrap=True),
        Column("tags", lambda one: _tags(one) or None, may_wrap=True, may_be_missing=True),
        Column("made by", lambda one: str(one.get("created_by")), may_be_missing=True),
        Column("until", _until),
    ]
    return table(columns, found, width)


def _described(key: Key) -> str:
    routes = ", ".join(key.get("routes") or ()) or "all models"
    said = (f"role {key.get('role')}", f"may call {routes}", _limits(key), _tags(key), _until(key))
    return ", ".join(str(part) for part in said if part)


def _limits(key: Key) -> str | None:
    limits = key.get("limits") or {}
    parts = [f"{limits[bound]} {what}" for bound, what in _BOUNDS if limits.get(bound) is not None]
    if not key.get("may_wake", True):
        parts.append("wakes nothing")
    if key.get("priority"):
        parts.append(f"priority {key['priority']}")
    return ", ".join(parts) or None


def _tags(key: Key) -> str:
    return ", ".join(f"{tag}={value}" for tag, value in (key.get("tags") or {}).items())


def _until(key: Key) -> Text | str | None:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.words import whole  # noqa: PLC0415

    if key.get("revoked_at") is not None:
        return Text("revoked", style="red")
    if key.get("expires_at") is None:
        return None
    left = float(key["expires_at"]) - time.time()
    return f"ends in {whole(left)}" if left > 0 else Text("expired", style="red")
