"""Types of single values: how each is read and what it looks like in the schema.

Validators find the environment and the configuration's folder in pydantic's validation context (`Context`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, InstanceOf, Strict, ValidationInfo, WithJsonSchema

from lamplighter.config import remote as remotes
from lamplighter.config.quantities import NEVER, parse_duration, parse_size
from lamplighter.domain.endpoint import Remote
from lamplighter.domain.secret import Secret
from lamplighter.secrets.places import BRACED, PLACES, is_place, is_token_like, is_writable, named_in, parse_place
from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import Secrets

NAME_PATTERN = r"[a-z0-9][a-z0-9.-]{0,62}"
_NAME = re.compile(NAME_PATTERN)
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110 section 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_KEY = re.compile(r"[!-~]+")
_URL = re.compile(r"[!-~]+")
_URL_HINT = "should be a URL that begins with http:// or https://, such as https://api.example.com/v1"
_NOT_FOR_USERS = frozenset(
    {"host", "content-length", "connection", "transfer-encoding", "upgrade", "te", "trailer", "keep-alive", "expect"}
)


_SUBSTITUTED = frozenset({"env", "secrets"})
_ONLY_PLACES = ("secret:", "keyring:", "vault:")
"""`env:` and `file:` may begin what is meant for an engine, as a database's URL does; nothing is known to begin so."""
_ELSEWHERE = f"A key does not belong into this file: name where it is ({PLACES})"
_PLACE = f"A place: {PLACES}."
_TEXT = "Text; ${NAME} stands for an environment variable, ${PLACE} for a secret."


@dataclass(frozen=True, slots=True)
class Context:
    """What values may refer to. `folder` is where relative paths begin; `secrets` reads what is elsewhere."""

    environ: Mapping[str, str]
    folder: Path
    secrets: Secrets = field(default_factory=lambda: Secrets({}))


def _idle_timeout(value: object) -> float | None:
    return _duration_or_never(value, of_zero=f"could mean two things: write {NEVER}, or some seconds")


def _longest(value: object) -> float | None:
    return _duration_or_never(value, of_zero=f"should be longer than nothing, or {NEVER}")


def _duration_or_never(value: object, *, of_zero: str) -> float | None:
    """Seconds, or None for never. Raises ValueError, for zero with `of_zero`."""
    if isinstance(value, str) and value.strip().lower() == NEVER:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {NEVER}") from None
    if not seconds:
        raise ValueError(of_zero)
    return seconds


NEVER_READERS = frozenset({_idle_timeout, _longest})
"""Validators of durations to which None is never."""


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
    """A text with what its `${…}` stand for: a variable's name, or a place."""
    text = _word(value)
    if text.startswith(_ONLY_PLACES):
        raise ValueError("looks like the place of a secret; within a text that is written as ${" + _kind(text) + ":…}")

    def replace(match: re.Match[str]) -> str:
        return match[1] or _stands_for(match[2], info)

    return BRACED.sub(replace, text)


def _kind(text: str) -> str:
    return text.partition(":")[0]


def _stands_for(name: str, info: ValidationInfo) -> str:
    """What is at a place is taken whole; a variable as it is, which may be empty."""
    secret = _secret_at(name, info)
    if secret is not None:
        return secret.reveal()
    environ = context_of(info).environ
    if name not in environ and is_token_like(name):
        raise ValueError("has what looks like a token itself within ${…}, where only a name belongs")
    if name not in environ:
        raise ValueError(f"names the environment variable {name}, which is not set")
    return environ[name]


def variables_in(text: str) -> list[str]:
    """The environment variables that a text of the file names as `${NAME}`, or as `${env:NAME}`."""
    names = [name.removeprefix("env:").strip() if is_place(name) else name for name in named_in(text)]
    return [name for name in names if not is_place(name)]


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("should be a path")
    return path_of(str(value), context_of(info))


def path_of(text: str, context: Context) -> Path:
    """The path that a text means. Raises ValueError."""
    home = context.environ.get("HOME")
    if home and (text == "~" or text.startswith("~/")):
        text = home + text[1:]
    try:
        return context.folder / Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"can't be expanded: {error}") from None


def _log_place(value: object, info: ValidationInfo) -> Path | str:
    if value is False or value == "off":  # YAML of the older kind reads `off` as false
        return "off"
    if value == "stderr":
        return "stderr"
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("should be off, stderr or a path")
    return _path(value, info)


def _key_digest(value: object, info: ValidationInfo) -> str:
    text = value if isinstance(value, str) else ""
    if key := _secret_at(text, info):
        if not _HEADER_VALUE.fullmatch(key.reveal()):
            raise ValueError("names a key with line ends or other characters that no header can have")
        return digest(key.reveal())
    if match := _SHA256.fullmatch(text):
        return match[1].lower()
    raise ValueError(f"is not a key's place. {_ELSEWHERE}, or give its digest (sha256: and 64 hex digits)")


def _secret(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    key = _secret_at(value if isinstance(value, str) else "", info)
    if key is None:
        raise ValueError(f"is not a key's place. {_ELSEWHERE}")
    if not _KEY.fullmatch(key.reveal()):
        raise ValueError("names a key with blanks, line ends or other characters that no key has")
    return key


def _secret_at(text: str, info: ValidationInfo) -> Secret | None:
    """The secret at a place; None if the text is no place. Raises ValueError."""
    context = context_of(info)
    return read_place(text, context)


def read_place(text: str, context: Context) -> Secret | None:
    """The secret at a place, without blanks around it; None if the text is no place. Raises ValueError."""
    place = parse_place(text, lambda path: path_of(path, context))
    if place is None:
        return None
    try:
        secret = context.secrets.read(place)
    except SecretError as error:
        raise ValueError(f"names {error.message}") from None
    return Secret(secret.reveal().strip())


def _base_url(value: object, info: ValidationInfo) -> str:
    url = _substituted(value, info).strip().rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(_URL_HINT) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not _URL.fullmatch(url):
        raise ValueError(_URL_HINT)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or a password; give `key`, or a header by `headers`")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path; a key goes into `key` or `headers`")
    return url


def _header_name(value: object) -> str:
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value):
        raise ValueError("should be the name of a header, such as X-Session-Id")
    if value.lower() in _NOT_FOR_USERS:
        raise ValueError("is a header that belongs to each connection, and can't be chosen")
    return value


def _header_value(value: object, info: ValidationInfo) -> str:
    secret = _secret_at(value, info) if isinstance(value, str) else None
    text = _substituted(value, info) if secret is None else secret.reveal()
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("has line ends or other characters that a header can't have")
    return text


def _header_text(value: object, info: ValidationInfo) -> str:
    """Of an engine: a text with places within it alone, for a place as a whole would be sent as it is written."""
    text = _substituted(value, info)
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("has line ends or other characters that a header can't have")
    return text


def _variable_name(value: object) -> str:
    if not isinstance(value, str) or not value or "=" in value or not _is_for_processes(value):
        raise ValueError("should be the name of an environment variable")
    return value


def _variable_text(value: object, info: ValidationInfo) -> str:
    text = _substituted(value, info)
    if not _is_for_processes(text):
        raise ValueError("has characters that no environment variable can have")
    return text


def _is_for_processes(text: str) -> bool:
    return "\0" not in text and is_writable(text)


def _secret_text(value: object, info: ValidationInfo) -> Secret:
    """An address that whoever has it can write to: it comes from elsewhere, as keys do."""
    secret = _secret_at(value if isinstance(value, str) else "", info)
    if secret is not None:
        return secret
    raise ValueError(
        "is not the place of an address. Whoever has the address can write there, so it does not belong into this "
        f"file: name where it is ({PLACES})"
    )


def _network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))  # type: ignore[arg-type]  # it says what it can't read
    except (ValueError, TypeError):
        raise ValueError("should be an address or a network, such as 10.0.0.7 or 10.0.0.0/8") from None


def digest(key: str) -> str:
    """What is kept of a key instead of it: the hex digest of its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()


def context_of(info: ValidationInfo) -> Context:
    """What values may refer to here."""
    return info.context if isinstance(info.context, Context) else Context({}, Path())


def _schema(description: str, *types: str, pattern: str | None = None) -> WithJsonSchema:
    text: dict[str, Any] = {"type": "string"} | ({"pattern": pattern} if pattern else {})
    options = [text if name == "string" else {"type": name} for name in types]
    return WithJsonSchema({"description": description} | (options[0] if len(options) == 1 else {"anyOf": options}))


Flag: TypeAlias = Annotated[bool, Strict()]
"""true or false, and nothing that only looks like it: neither 1 nor 'yes'."""
Whole: TypeAlias = Annotated[int, Strict()]
"""A whole number, neither as text nor true for 1."""
Number: TypeAlias = Annotated[float, Strict()]
"""A number, whole or not; neither as text nor true for 1."""
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
FilePath: TypeAlias = Annotated[
    Path, BeforeValidator(_path), _schema("A path; a relative one begins at this file's folder.", "string")
]
LogPlace: TypeAlias = Annotated[
    Path | Literal["off", "stderr"], BeforeValidator(_log_place), _schema("off, stderr, or a path.", "string")
]
BoundOrNever: TypeAlias = Annotated[
    float | None, BeforeValidator(_longest), _schema("A duration, or never.", "number", "string")
]
SecretText: TypeAlias = Annotated[InstanceOf[Secret], BeforeValidator(_secret_text), _schema(_PLACE, "string")]
Network: TypeAlias = Annotated[str, BeforeValidator(_network), _schema("An address or a network.", "string")]
KeyDigest: TypeAlias = Annotated[str, BeforeValidator(_key_digest), _schema(f"{_PLACE} Or sha256:DIGEST.", "string")]
SecretPlace: TypeAlias = Annotated[InstanceOf[Secret], BeforeValidator(_secret), _schema(_PLACE, "string")]
BaseUrl: TypeAlias = Annotated[
    str, BeforeValidator(_base_url), _schema("A URL; ${NAME} stands for an environment variable.", "string")
]
HeaderText: TypeAlias = Annotated[str, BeforeValidator(_header_text), _schema(_TEXT, "string")]
VariableName: TypeAlias = Annotated[
    str, BeforeValidator(_variable_name), _schema("The name of an environment variable.", "string")
]
VariableText: TypeAlias = Annotated[str, BeforeValidator(_variable_text), _schema(_TEXT, "string")]
HeaderName: TypeAlias = Annotated[
    str, BeforeValidator(_header_name), _schema("The name of a header.", "string", pattern=f"^{_HEADER_NAME.pattern}$")
]
HeaderValue: TypeAlias = Annotated[
    str,
    BeforeValidator(_header_value),
    _schema(f"{_TEXT} Or a place: {PLACES}.", "string"),
]
