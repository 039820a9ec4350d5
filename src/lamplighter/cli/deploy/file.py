"""Reading `endpoint.yaml`: one endpoint a document, in the words of `lamplighter deploy`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lamplighter.cli.deployment import noted
from lamplighter.errors import ConfigError, InvalidInput
from lamplighter.hf.forms import DeploymentForm
from lamplighter.hf.rules import each
from lamplighter.secrets.places import parse_place
from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import usual_secrets


@dataclass(frozen=True, slots=True)
class Wanted:
    """One endpoint as the file wants it, and the namespace if the file names one."""

    form: DeploymentForm
    namespace: str | None = None


def read(path: Path) -> list[Wanted]:
    """Read every document of a file; `-` is standard input. Raises ConfigError that names all documents at fault."""
    source = "standard input" if str(path) == "-" else str(path)
    wanted: list[Wanted] = []
    mistakes: list[InvalidInput] = []
    for number, document in _documents(path, source):
        try:
            wanted.append(_one(document, f"{source}, document {number}"))
        except ConfigError as error:
            mistakes.append(error)
    raise_all(mistakes)
    if not wanted:
        raise ConfigError("there is no endpoint in it", source=source)
    names = [(one.namespace, one.form.name) for one in wanted]
    for _, name in {key for key in names if names.count(key) > 1}:
        raise ConfigError(f"{name!r} stands in it twice", source=source)
    return wanted


def raise_all(mistakes: Sequence[InvalidInput]) -> None:
    """Raise one error that tells of all of them, a line each; nothing for none."""
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise ConfigError("\n".join(mistake.message for mistake in mistakes))


def _documents(path: Path, source: str) -> Iterator[tuple[int, Any]]:
    import yaml  # noqa: PLC0415 - help should not pay for it

    try:
        with click.open_file(str(path), encoding="utf-8") as file:
            documents = list(yaml.safe_load_all(file.read()))
    except UnicodeDecodeError as error:
        raise ConfigError("it is not UTF-8 text", source=source) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"not YAML: {error.problem}", source=source, line=line) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}", source=source) from error
    for number, document in enumerate(documents, 1):
        if document is not None:
            yield number, document


def _one(document: Any, place: str) -> Wanted:
    if not isinstance(document, Mapping):
        raise ConfigError("should be a mapping with `name`, `repository` and so on", source=place)
    values = dict(document)
    mistakes: list[InvalidInput] = []
    namespace = values.pop("namespace", None)
    if namespace is not None and not isinstance(namespace, str):
        mistakes.append(InvalidInput(f"namespace: {namespace!r} should be a name", field="namespace"))
    if isinstance(values.get("secrets"), Mapping):
        values["secrets"] = dict(_secrets(values["secrets"], mistakes))
    try:
        form = noted(lambda: DeploymentForm.of(values))
    except InvalidInput as error:
        mistakes += each(error)
    raise_all([ConfigError(one.message, field=one.field, source=place) for one in mistakes])
    return Wanted(form, namespace)


def _secrets(given: Mapping[object, Any], mistakes: list[InvalidInput]) -> Iterator[tuple[str, Any]]:
    """Secrets with their values; a place (`env:NAME`, `vault:PATH#FIELD` …) is read, so that the file can be shown."""
    for name, value in given.items():
        try:
            yield str(name), _read(value)
        except (SecretError, ValueError) as error:
            told = f"names {error.message}" if isinstance(error, SecretError) else str(error)
            mistakes.append(InvalidInput(f"secrets.{name}: {told}", field="secrets"))


def _read(value: object) -> Any:
    place = parse_place(value) if isinstance(value, str) else None
    return value if place is None else usual_secrets().current(place).reveal()
