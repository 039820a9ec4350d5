"""What may be written in the place of a secret. Pure: nothing is looked up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

PLACES = "env:NAME, file:PATH, secret:NAME, keyring:SERVICE/NAME or vault:PATH#FIELD"
"""For messages: all that there are."""
VAULT_MOUNT = "secret"
"""Where a Vault that runs for development mounts its KV engine, and most others do."""
VAULT_PATH = "huggingface/api_key"
"""What `vault:` alone stands for."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VARIABLE = re.compile(r"[^=\x00\s]+")
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(hf_(?=[A-Za-z]*[A-Z0-9])[A-Za-z0-9]{8,}|hf_[A-Za-z0-9]{24,}|api_org_[A-Za-z0-9]{16,}"
    r"|(sk-|ll_|hvs\.)(?=[A-Za-z_-]*[A-Z0-9])[A-Za-z0-9_-]{16,})"
)
"""How tokens begin: those of Hugging Face and of its organizations, keys of model APIs, of this program, of a Vault."""
_NO_NAME = (
    "looks like a token itself, where only a name belongs; it is not repeated here. Keep it under a name of yours"
)
_VAULT = re.compile(
    r"(?:(?P<mount>[^\s:#?]+):)?(?P<path>[^\s:#?]*)(?:\?version=(?P<version>[0-9]{1,9}))?(?:#(?P<field>.+))?"
)


@dataclass(frozen=True, slots=True)
class EnvironmentPlace:
    """`env:NAME`."""

    name: str

    def __str__(self) -> str:
        return f"env:{self.name}"


@dataclass(frozen=True, slots=True)
class FilePlace:
    """`file:PATH`: a file that holds the secret and nothing else."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """`secret:NAME`: an entry of the encrypted store."""

    name: str

    def __str__(self) -> str:
        return f"secret:{self.name}"


@dataclass(frozen=True, slots=True)
class KeyringPlace:
    """`keyring:SERVICE/NAME`: an entry of the operating system's keyring."""

    service: str
    name: str

    def __str__(self) -> str:
        return f"keyring:{self.service}/{self.name}"


@dataclass(frozen=True, slots=True)
class VaultPlace:
    """`vault:[MOUNT:]PATH[?version=N][#FIELD]`. No field: the only one that there is; no version: the latest."""

    path: str
    field: str | None = None
    mount: str = VAULT_MOUNT
    version: int | None = None

    def __str__(self) -> str:
        mount = "" if self.mount == VAULT_MOUNT else f"{self.mount}:"
        version = "" if self.version is None else f"?version={self.version}"
        return f"vault:{mount}{self.path}{version}{f'#{self.field}' if self.field else ''}"


Place: TypeAlias = EnvironmentPlace | FilePlace | StorePlace | KeyringPlace | VaultPlace


def is_place(text: str) -> bool:
    """Whether a text means a place, well written or not."""
    return text.partition(":")[0] in _READERS and ":" in text


def parse_place(text: str, expand: Callable[[str], Path] = Path) -> Place | None:
    """Read a place; None for a text that means none. `expand` makes the path of a file.

    Raises ValueError for one that is not well written; its text does not repeat what was given.
    """
    kind, _, rest = text.strip().partition(":")
    if not is_place(text.strip()):
        return None
    if "\0" in rest or not is_writable(rest):
        raise ValueError("has a character that the name of no place has")
    if is_token_like(rest):
        raise ValueError(_NO_NAME)
    return _READERS[kind](rest, expand)


def is_writable(text: str) -> bool:
    """Whether a text can be written as UTF-8. What came from bytes that were none can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def named_in(text: str) -> Iterator[str]:
    """The names within `${…}` of a text, in their order; `$${…}` is none."""
    return (match[2] for match in BRACED.finditer(text) if not match[1])


BRACED = re.compile(r"\$(\$\{)|\$\{([^}]*)\}")
"""`${…}` within a text, the inner part as group 2; `$${`, which stands for `${`, with group 1."""


def is_token_like(text: str) -> bool:
    """Whether a text holds what tokens look like: it is not to be shown, and is the name of nothing."""
    return _TOKEN.search(text) is not None


def check_new_name(name: str) -> str:
    """The same as `check_name`, for a name that somebody gives: names are in plain text, so none may be a token."""
    if is_token_like(name):
        raise ValueError(_NO_NAME)
    return check_name(name)


def check_name(name: str) -> str:
    """The name of an entry of the encrypted store. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "should be a name of at most 100 letters, digits, dots, hyphens and underscores that begins with a letter "
            "or digit"
        )
    return name


def _environment(rest: str, _: object) -> EnvironmentPlace:
    name = rest.strip()
    if not _VARIABLE.fullmatch(name):
        raise ValueError("should name an environment variable, as env:NAME does")
    return EnvironmentPlace(name)


def _file(rest: str, expand: Callable[[str], Path]) -> FilePlace:
    if not rest:
        raise ValueError("should name a file, as file:PATH does")
    return FilePlace(expand(rest))


def _store(rest: str, _: object) -> StorePlace:
    try:
        return StorePlace(check_name(rest))
    except ValueError as error:
        raise ValueError(f"what stands behind secret: {error}") from None


def _keyring(rest: str, _: object) -> KeyringPlace:
    service, _slash, name = rest.rpartition("/")
    if not service or not name:
        raise ValueError("should name a service and an entry of it, as keyring:SERVICE/NAME does")
    return KeyringPlace(service, name)


def _vault(rest: str, _: object) -> VaultPlace:
    match = _VAULT.fullmatch(rest)
    path = match["path"].strip("/") or VAULT_PATH if match else ""
    mount = (match["mount"] or VAULT_MOUNT).strip("/") if match else ""
    if match is None or any(part in ("", ".", "..") for part in (*path.split("/"), *mount.split("/"))):
        raise ValueError(
            f"should name a path and a field, as vault:{VAULT_PATH}#token does (or vault:MOUNT:PATH#FIELD, "
            "vault:PATH?version=3#FIELD)"
        )
    version = int(match["version"]) if match["version"] else None
    if version == 0:
        raise ValueError("has a version 0; versions count from 1, and without one the latest is read")
    return VaultPlace(path, match["field"], mount, version)


_READERS: dict[str, Callable[[str, Callable[[str], Path]], Place]] = {
    "env": _environment,
    "file": _file,
    "secret": _store,
    "keyring": _keyring,
    "vault": _vault,
}
