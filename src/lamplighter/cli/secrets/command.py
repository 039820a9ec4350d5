"""`lamplighter secrets`: set, list, test, remove."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.base.helping import examples
from lamplighter.cli.options import json_option, one_form, quiet_option
from lamplighter.cli.show.printing import print_json, print_names
from lamplighter.errors import InvalidInput

if TYPE_CHECKING:
    from lamplighter.cli.secrets.trying import Tried
    from lamplighter.domain.secret import Secret
    from lamplighter.secrets.places import Place
    from lamplighter.secrets.sources import Secrets
    from lamplighter.secrets.store import Entry

_config_option = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration whose places count; by default the one that `serve` would take.",
)


@click.group()
def secrets() -> None:
    """Keep secrets in an encrypted file, and test whether those that are named anywhere can be read.

    The configuration names an entry as secret:NAME. LAMPLIGHTER_SECRETS says where the file is.
    """


@secrets.command(
    "set",
    epilog=examples(
        "lamplighter secrets set hf-token", "pass show hf | lamplighter secrets set hf-token --protect-by keyring"
    ),
)
@click.argument("name")
@click.argument("more", nargs=-1, metavar="")
@click.option(
    "--protect-by",
    type=click.Choice(["keyring", "passphrase"]),
    help="What protects the file, once the first secret makes it. By default the keyring where there is one, and no "
    "passphrase is given by LAMPLIGHTER_PASSPHRASE.",
)
def set_(name: str, more: Sequence[str], *, protect_by: str | None) -> None:
    """Keep a secret under a name, in the place of the one before.

    Its value comes from standard input, or is asked for unseen. It is never an argument: those can be read by everybody
    on the machine.
    """
    if more:  # not told: whoever wrote it there meant it as the value
        raise click.UsageError("The value is never an argument. Give it on standard input, or wait to be asked for it.")
    from lamplighter.secrets.places import check_new_name  # noqa: PLC0415 - help should not pay for it

    store = _here().store
    try:
        check_new_name(name)
        store.entries()  # what is wrong with the file is told before anybody types
        store.set(name, _value(name), protect_by=protect_by)
    except ValueError as error:
        raise InvalidInput(f"name: what was given {error}", field="name") from None
    click.echo(f"Set {name} in {store.path}, protected by {_protection(store.protection())}.", err=True)
    click.echo(f"The configuration names it as secret:{name}. Test it:  lamplighter secrets test {name}", err=True)


def _protection(kind: str | None) -> str:
    return "the keyring" if kind == "keyring" else "a passphrase"


def _value(name: str) -> Secret:
    from lamplighter.domain.secret import Secret  # noqa: PLC0415 - help should not pay for it
    from lamplighter.secrets.passphrase import DESCRIPTOR  # noqa: PLC0415
    from lamplighter.secrets.store import LONGEST  # noqa: PLC0415

    if sys.stdin.isatty():
        text = click.prompt(f"Value of {name}", hide_input=True, default="", show_default=False)
    else:
        if os.environ.get(DESCRIPTOR, "").strip() == "0":
            raise InvalidInput(
                f"{DESCRIPTOR}: standard input can't be both the passphrase and the value; give the passphrase by "
                f"another file, as in {DESCRIPTOR}=3 … 3<FILE",
                field=DESCRIPTOR,
            )
        try:
            text = sys.stdin.buffer.read(4 * LONGEST + 1).decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{name}: standard input is not UTF-8 text", field="name") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise InvalidInput(f"{name}: the value is empty; nothing was changed", field="name")
    return Secret(text)


@secrets.command("list", epilog=examples("lamplighter secrets list", "lamplighter secrets list --quiet"))
@_config_option
@json_option
@quiet_option
def list_(*, path: Path | None, as_json: bool, quiet: bool) -> None:
    """List the names in the encrypted file and how old each is, and the places that the configuration names.

    Reads no secret, and needs nothing to open them. --quiet prints the names in the file alone.
    """
    one_form(as_json=as_json, quiet=quiet)
    entries = _here().store.entries()
    if quiet:
        print_names([entry.name for entry in entries])
        return
    rows = list(_rows(entries, _wanted(path), time.time()))
    if as_json:
        print_json(rows)
        return
    from lamplighter.cli.show.output import out  # noqa: PLC0415 - help should not pay for it

    console = out()
    console.print(_drawn(rows, console.width))


def _rows(entries: Sequence[Entry], wanted: dict[Place, list[str]], now: float) -> Iterator[dict[str, Any]]:
    named = {str(place): keys for place, keys in wanted.items()}
    for entry in entries:
        source = f"secret:{entry.name}"
        yield {
            "name": entry.name,
            "source": source,
            "set_at": entry.set_at,
            "age": max(0.0, now - entry.set_at),
            "used_by": named.pop(source, []),
        }
    for source, keys in named.items():
        yield {"name": None, "source": source, "set_at": None, "age": None, "used_by": keys}


def _drawn(rows: Sequence[dict[str, Any]], width: int) -> Any:
    from lamplighter.cli.show.table import Column, table  # noqa: PLC0415 - help should not pay for it
    from lamplighter.cli.show.words import ago  # noqa: PLC0415

    if not rows:
        return "There is none. `lamplighter secrets set NAME` keeps the first one."
    columns: list[Column[dict[str, Any]]] = [
        Column("name", lambda row: row["name"]),
        Column("source", lambda row: row["source"], may_wrap=True),
        Column("set", lambda row: None if row["age"] is None else ago(row["age"])),
        Column("used by", lambda row: ", ".join(row["used_by"]) or None, may_wrap=True, may_be_missing=True),
    ]
    return table(columns, rows, width)


@secrets.command(
    epilog=examples(
        "lamplighter secrets test",
        "lamplighter secrets test hf-token",
        "lamplighter secrets test 'vault:huggingface/api_key#token'",
    )
)
@click.argument("name", required=False, metavar="[NAME|SOURCE]")
@_config_option
@json_option
def test(name: str | None, *, path: Path | None, as_json: bool) -> int:
    """Tell whether secrets can be read, and from where; never what they are.

    NAME is one of the encrypted file, SOURCE any place. Without either: all in the file, all that the configuration
    names, and LAMPLIGHTER_TOKEN_SOURCE. What looks like a Hugging Face token is shown to Hugging Face, which says whose
    it is.
    """
    from lamplighter.cli.secrets.trying import try_all  # noqa: PLC0415 - help should not pay for it

    here = _here()
    tried = try_all(here, _everything(here, path) if name is None else {_named(name): []})
    if as_json:
        print_json(
            [{"source": one.place, "ok": one.ok, "said": one.said, "used_by": list(one.wanted_by)} for one in tried]
        )
    else:
        _tell(tried)
    codes = {one.exit_code or 1 for one in tried if not one.ok}
    return codes.pop() if len(codes) == 1 else int(bool(codes))


def _tell(tried: Sequence[Tried]) -> None:
    from rich.text import Text  # noqa: PLC0415 - help should not pay for it

    from lamplighter.cli.show.output import out, pick  # noqa: PLC0415

    console = out()
    for one in tried:
        sign, style = (pick(console, "✓", "ok"), "green") if one.ok else (pick(console, "✗", "!!"), "red")
        users = f" ({', '.join(one.wanted_by)})" if one.wanted_by else ""
        console.print(Text.assemble((sign, style), " ", (one.place, "bold"), users, ": ", one.said), soft_wrap=True)
    if not tried:
        click.echo("There is none to test: the encrypted file has none, and the configuration names none.")


def _named(name: str) -> Place:
    from lamplighter.secrets.places import StorePlace, check_new_name, parse_place  # noqa: PLC0415 - see above

    try:
        return parse_place(name) or StorePlace(check_new_name(name))
    except ValueError as error:
        raise InvalidInput(f"source: what was given {error}", field="source") from None


def _everything(here: Secrets, path: Path | None) -> dict[Place, list[str]]:
    from lamplighter.secrets.places import StorePlace  # noqa: PLC0415 - see above

    wanted: dict[Place, list[str]] = {StorePlace(entry.name): [] for entry in here.store.entries()}
    for place, keys in _wanted(path).items():
        wanted.setdefault(place, []).extend(keys)
    return wanted


def _wanted(path: Path | None) -> dict[Place, list[str]]:
    """What the configuration and the environment name, by place."""
    from lamplighter.config import named_places  # noqa: PLC0415 - see above
    from lamplighter.secrets.token_source import VARIABLE, token_place  # noqa: PLC0415

    wanted: dict[Place, list[str]] = {}
    for key, place in named_places(path).items():
        wanted.setdefault(place, []).append(key)
    if (named := token_place()) is not None:
        wanted.setdefault(named, []).append(VARIABLE)
    return wanted


@secrets.command(epilog=examples("lamplighter secrets remove hf-token"))
@click.argument("name")
def remove(name: str) -> None:
    """Take a secret out of the encrypted file. What opens the file is not needed for it."""
    from lamplighter.secrets.places import is_token_like  # noqa: PLC0415 - help should not pay for it

    store = _here().store
    if not is_token_like(name):
        store.remove(name)
        click.echo(f"Removed {name} from {store.path}.", err=True)
        return
    if name not in {entry.name for entry in store.entries()}:
        raise InvalidInput("name: what was given looks like a token itself, and is the name of no entry", field="name")
    store.remove(name)
    click.echo(f"Removed it from {store.path}. A name is in plain text there: if it was a token, revoke it.", err=True)


def _here() -> Secrets:
    from lamplighter.secrets.sources import Secrets  # noqa: PLC0415 - help should not pay for it

    return Secrets()
