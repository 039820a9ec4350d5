"""Types of single values: how each is read and what it looks like in the schema.

Validators find the environment and the configuration's folder in pydantic's validation context (`Context`).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from lamplighter.config import remote as remotes
from lamplighter.config.quantities import NEVER, parse_duration, parse_size
from lamplighter.domain.endpoint import Remote

NAME_PATTERN = r"[a-z0-9][a-z0-9.-]{0,62}"
_NAME = re.compile(NAME_PATTERN)
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([^}]*)\}")


_SUBSTITUTED = frozenset({"env", "secrets"})


@dataclass(frozen=True, slots=True)
class Context:
    """What values may refer to. `folder` is where relative paths begin."""

    environ: Mapping[str, str]
    folder: Path


def _idle_timeout(value: object) -> float | None:
    if isinstance(value, str) and value.strip().lower() == NEVER:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {NEVER}") from None
    if not seconds:
        raise ValueError(f"could mean two things: write {NEVER}, or some seconds")
    return seconds


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("should be a name of at most 63 lower-case letters, digits, dots and hyphens")
    return value


def _alias(value: object) -> str:
    if not isinstance(value, str) or not _ALIAS.fullmatch(value):
        raise ValueError("should be a name of letters, digits and ._:/- that begins with a letter or digit")
    return value


def _namespace(value: object) -> str:
    if not isinstance(value, str) or not _NAMESPACE.fullmatch(value):
        raise ValueError("should be a name of at most 96 letters, digits and ._- that begins with a letter or digit")
    return value


def _deployment(value: object, info: ValidationInfo) -> dict[str, Any]:
    """What is secret in a deployment comes from the environment, as it does for engines."""
    if not isinstance(value, dict):
        raise ValueError("should be a mapping of keys to values")  # noqa: TRY004 - pydantic takes a ValueError
    return {key: _substituted_in(key, given, info) if key in _SUBSTITUTED else given for key, given in value.items()}


def _substituted_in(key: str, value: object, info: ValidationInfo) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{key}: should be a mapping of keys to values")  # noqa: TRY004 - as above
    try:
        return {name: _substituted(given, info) for name, given in value.items()}
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise ValueError(f"can't be split into words as a shell would: {str(error).lower()}") from None
    if not isinstance(value, list) or not all(isinstance(word, str | int | float) for word in value):
        raise ValueError("should be a list of words, or one text to be split as a shell would")
    return tuple(_word(word) for word in value)


def _word(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("should be text; put it in quotes")  # noqa: TRY004 - pydantic takes a ValueError
    return str(value)


def _substituted(value: object, info: ValidationInfo) -> str:
    environ = _context(info).environ

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        if match[2] not in environ:
            raise ValueError(f"names the environment variable {match[2]}, which is not set")
        return environ[match[2]]

    return _VARIABLE.sub(replace, _word(value))


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("should be a path")
    context = _context(info)
    text, home = str(value), context.environ.get("HOME")
    if home and (text == "~" or text.startswith("~/")):
        text = home + text[1:]
    try:
        return context.folder / Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"can't be expanded: {error}") from None


def _key_digest(value: object, info: ValidationInfo) -> str:
    text = value if isinstance(value, str) else ""
    kind, _, rest = text.partition(":")
    if kind == "env":
        return _digest(_context(info).environ.get(rest, ""), f"the environment variable {rest}, which is not set")
    if kind == "file":
        return _digest(_read_key(_path(rest, info)), f"the file {rest}, which is empty")
    if match := _SHA256.fullmatch(text):
        return match[1].lower()
    raise ValueError(
        "is not a key's place. A key does not belong into this file: name the environment variable that holds it "
        "(env:NAME), or a file (file:PATH), or give its digest (sha256: and 64 hex digits)"
    )


def _read_key(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"names the file {path}, which can't be read: {error}") from None


def _digest(key: str, otherwise: str) -> str:
    if not key.strip():
        raise ValueError(f"names {otherwise}")
    return digest(key.strip())


def digest(key: str) -> str:
    """What is kept of a key instead of it: the hex digest of its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()


def _context(info: ValidationInfo) -> Context:
    return info.context if isinstance(info.context, Context) else Context({}, Path())


def _schema(description: str, *types: str, pattern: str | None = None) -> WithJsonSchema:
    text: dict[str, Any] = {"type": "string"} | ({"pattern": pattern} if pattern else {})
    options = [text if name == "string" else {"type": name} for name in types]
    return WithJsonSchema({"description": description} | (options[0] if len(options) == 1 else {"anyOf": options}))


_DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?\s*(ms|d|h|m|s)?\s*)+$"
_DURATION_SCHEMA = _schema("Seconds, or a duration: 90s, 15m, 1h30m.", "number", "string", pattern=_DURATION_PATTERN)

Duration: TypeAlias = Annotated[float, BeforeValidator(parse_duration), _DURATION_SCHEMA]
PositiveDuration: TypeAlias = Annotated[float, Field(gt=0), BeforeValidator(parse_duration), _DURATION_SCHEMA]
IdleTimeout: TypeAlias = Annotated[
    float | None, BeforeValidator(_idle_timeout), _schema("A duration, or never.", "number", "string")
]
Size: TypeAlias = Annotated[
    int, Field(gt=0), BeforeValidator(parse_size), _schema("Bytes, or a size: 64MB, 64MiB.", "integer", "string")
]
Name: TypeAlias = Annotated[str, BeforeValidator(_name), _schema("A name.", "string", pattern=f"^{_NAME.pattern}$")]
Namespace: TypeAlias = Annotated[
    str, BeforeValidator(_namespace), _schema("A namespace.", "string", pattern=f"^{_NAMESPACE.pattern}$")
]
RemotePlace: TypeAlias = Annotated[
    Remote,
    BeforeValidator(remotes.parse_remote),
    _schema("namespace/name, a name, the console's URL, or the endpoint's own URL.", "string"),
]
DeploymentValues: TypeAlias = Annotated[
    dict[str, Any], BeforeValidator(_deployment), _schema("What to make: the keys of a deployment file.", "object")
]
Alias: TypeAlias = Annotated[
    str, BeforeValidator(_alias), _schema("A model name.", "string", pattern=f"^{_ALIAS.pattern}$")
]
Words: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(_words), _schema("Words, or one text to be split.", "array", "string")
]
Substituted: TypeAlias = Annotated[
    str, BeforeValidator(_substituted), _schema("Text; ${NAME} stands for an environment variable.", "string")
]
FilePath: TypeAlias = Annotated[
    Path, BeforeValidator(_path), _schema("A path; a relative one begins at this file's folder.", "string")
]
KeyDigest: TypeAlias = Annotated[
    str, BeforeValidator(_key_digest), _schema("env:NAME, file:PATH or sha256:DIGEST.", "string")
]
