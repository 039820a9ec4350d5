"""The options that describe an endpoint: for making one, and for changing one."""

from __future__ import annotations

import functools
import json
import os
import shlex
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from lamplighter.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_WHAT = (
    click.option("--repository", "-r", metavar="REPO", help="The model's repository, such as Qwen/Qwen3-8B."),
    click.option("--framework", metavar="NAME", help="pytorch (the default), llamacpp or custom."),
    click.option("--revision", metavar="REV", help="A branch or commit of the repository."),
    click.option("--task", metavar="TASK", help="What it does, such as text-generation or sentence-embeddings."),
    click.option(
        "--image",
        metavar="IMAGE",
        help="What serves it: a variant (vLLM, tei, llamacpp, …), VARIANT=CONTAINER, a container's address, or JSON.",
    ),
    click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Where the container listens."),
    click.option("--health-route", metavar="PATH", help="The path that answers 200 when the container is ready."),
    click.option("--command", metavar="WORDS", help="The container's command, in quotes."),
    click.option("--args", metavar="WORDS", help="Its arguments, in quotes."),
    click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the container; again for more."),
    click.option(
        "--secret", "secret", multiple=True, metavar="NAME", help="A secret, its value from our environment's NAME."
    ),
    click.option(
        "--secrets-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Secrets as NAME=VALUE lines.",
    ),
)
_WHERE = (
    click.option("--vendor", metavar="NAME", help="aws, azure, gcp, …; `lamplighter hardware` lists what there is."),
    click.option("--region", metavar="NAME", help="The vendor's region, such as us-east-1."),
)
_ON = (
    click.option("--accelerator", metavar="KIND", help="cpu, gpu or neuron."),
    click.option("--instance-type", metavar="TYPE", help="The kind of machine, such as nvidia-l4."),
    click.option("--instance-size", metavar="SIZE", help="How much of it: x1, x2, x4, x8."),
    click.option("--min-replica", type=click.IntRange(min=0), metavar="N", help="The fewest; 0 lets it scale to zero."),
    click.option("--max-replica", type=click.IntRange(min=1), metavar="N", help="The most."),
    click.option(
        "--scale-to-zero-timeout", type=int, metavar="MINUTES", help="Scale to zero after that long: 15 to 2880."
    ),
    click.option("--type", "type", metavar="WHO", help="Who may call it: public, authenticated or private."),
    click.option("--tag", "tag", multiple=True, metavar="TAG", help="A tag; again for more."),
)
NEW = (*_WHAT, *_WHERE, *_ON)
CHANGE = (*_WHAT, *_ON)


def describes(options: Iterable[Callable[[F], F]]) -> Callable[[F], F]:
    """Give a command these options; it gets what was given as one mapping, `values`, by the names of the form."""
    chosen = tuple(options)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in _NAMES if name in kwargs}
            return function(*args, values=values_of(given), **kwargs)

        for option in reversed(chosen):
            command = option(command)
        return command  # type: ignore[return-value]

    return decorate


_NAMES = (
    "repository", "framework", "revision", "task", "image", "port", "health_route", "command", "args", "env", "secret",
    "secrets_file", "vendor", "region", "accelerator", "instance_type", "instance_size", "min_replica", "max_replica",
    "scale_to_zero_timeout", "type", "tag",
)  # fmt: skip
_AS_GIVEN = (
    "repository", "framework", "revision", "task", "vendor", "region", "accelerator", "instance_type", "instance_size",
    "min_replica", "max_replica", "scale_to_zero_timeout", "type",
)  # fmt: skip


def values_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as the fields of a deployment form; what was left out is left out. Raises InvalidInput."""
    values = {name: given[name] for name in _AS_GIVEN if given.get(name) is not None}
    image = read_image(given.get("image"), given.get("port"), given.get("health_route"))
    if image is not None:
        values["image"] = image
    for name in ("command", "args"):
        if given.get(name) is not None:
            values[name] = _words(name, given[name])
    if given.get("env"):
        values["env"] = dict(_pair("--env", text) for text in given["env"])
    secrets = _secrets(given.get("secret") or (), given.get("secrets_file"))
    if secrets:
        values["secrets"] = secrets
    if given.get("tag"):
        values["tags"] = list(given["tag"])
    return values


def read_image(text: str | None, port: int | None = None, health_route: str | None = None) -> dict[str, Any] | None:
    """An image as the form takes it: `{variant: {...}}`, or a flat custom container. Raises InvalidInput."""
    if text is None:
        if port is not None or health_route is not None:
            raise InvalidInput("--port and --health-route describe a container: give --image, too", field="image")
        return None
    more = {name: value for name, value in (("port", port), ("healthRoute", health_route)) if value is not None}
    if text.lstrip().startswith("{"):
        if more:
            raise InvalidInput(
                "--image as JSON holds port and healthRoute itself: leave the options out", field="image"
            )
        return _json_image(text)
    from lamplighter.hf.rules import VARIANTS  # noqa: PLC0415 - help should not pay for it

    variant, _, container = text.partition("=")
    known = {name.lower(): name for name in VARIANTS}
    if variant.lower() in known:
        return {known[variant.lower()]: ({"url": container} if container else {}) | more}
    if not text or "/" not in text or any(letter.isspace() for letter in text):
        raise InvalidInput(
            f"--image: {text!r} is neither a variant ({', '.join(VARIANTS)}) nor a container's address such as "
            "ghcr.io/me/server:1",
            field="image",
        )
    return {"url": text} | more


def noted(make: Callable[[], T]) -> T:
    """Make a form; what it warns of is told as a line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FutureWarning)
        made = make()
    for warning in caught:
        click.echo(f"note: {warning.message}", err=True)
    return made


def _json_image(text: str) -> dict[str, Any]:
    try:
        image = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--image: that is no JSON: {error}", field="image") from error
    assert isinstance(image, dict)  # it begins with a brace
    return image


def _words(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidInput(f"--{name}: {text!r} can't be split into words: {error}", field=name) from error


def _pair(where: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidInput(f"{where}: {name[:80]!r} should be NAME=VALUE", field="env")
    return name.strip(), value


def _secrets(names: Iterable[str], file: Path | None) -> dict[str, str]:
    secrets = _secrets_in(file) if file else {}
    for name in names:
        if "=" in name:
            raise InvalidInput(
                "--secret: give the name alone; everybody on this machine can read arguments, so the value is taken "
                "from the environment, or from --secrets-file",
                field="secrets",
            )
        if name not in os.environ:
            raise InvalidInput(f"--secret: there is no {name!r} in the environment to take its value from")
        secrets[name] = os.environ[name]
    return secrets


def _secrets_in(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"--secrets-file: {file} is not UTF-8 text", field="secrets") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():  # the line itself may be a secret: it is not shown
            raise InvalidInput(f"--secrets-file: {file}:{number}: a line should be NAME=VALUE", field="secrets")
        found[name.strip()] = value.strip()
    return found
