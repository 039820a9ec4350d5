"""Finding the token: for Hugging Face, and the key of a Lamplighter server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, TokenMissing, TokenWrong
from lamplighter.secrets import token_source
from lamplighter.secrets.sources import Secrets

CLOUD_VARIABLES = ("HF_TOKEN", "HUGGINGFACE_API_KEY")
SERVER_VARIABLE = "LAMPLIGHTER_KEY"
LOGIN = "hf auth login"

_MOST = 8192


@dataclass(frozen=True, slots=True)
class Found:
    """A token, and where it comes from: a variable's name, a file's, a place, or `hf auth login`."""

    secret: Secret
    source: str


def find_cloud_token(environ: Mapping[str, str] | None = None, secrets: Secrets | None = None) -> Secret | None:
    """The Hugging Face token, or None. Raises TokenWrong for a text that can't be one, and TokenMissing."""
    found = look_for_cloud_token(environ, secrets)
    return found.secret if found else None


def look_for_cloud_token(environ: Mapping[str, str] | None = None, secrets: Secrets | None = None) -> Found | None:
    """The same, with where it was found: where LAMPLIGHTER_TOKEN_SOURCE says, else in the environment, else stored.

    All but the environment may be slow. `secrets` are those of a configuration.
    Raises TokenWrong, and TokenMissing where a source is named, or a login is there, but can't be used.
    """
    named = token_source.read_named(environ, secrets)
    if named is not None:
        place = str(token_source.token_place(environ))
        return Found(checked(named.reveal(), place), place)
    return look_in_environment(environ) or _look_in_login()


def look_in_environment(environ: Mapping[str, str] | None = None) -> Found | None:
    """What the environment alone has, for those who can't wait. Raises TokenWrong, TokenMissing."""
    return None if token_source.token_place(environ) else _first_of(CLOUD_VARIABLES, environ)


def find_server_key(key_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Secret | None:
    """The key of a Lamplighter server, or None. Raises TokenWrong, and InvalidInput where the file can't be read."""
    found = look_for_server_key(key_file, environ)
    return found.secret if found else None


def look_for_server_key(key_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Found | None:
    """The same, with where it was found: the file, if one is given, else LAMPLIGHTER_KEY."""
    if key_file is None:
        return _first_of((SERVER_VARIABLE,), environ)
    try:
        with key_file.open(encoding="utf-8") as file:
            value = file.read(_MOST + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it holds no text"
        raise InvalidInput(f"key file {key_file}: {reason}", field="key_file") from None
    if not value.strip():
        raise InvalidInput(f"key file {key_file}: it is empty", field="key_file")
    return Found(checked(value, str(key_file)), str(key_file))


def checked(value: str, source: str) -> Secret:
    """Make a secret of a token's text. Raises TokenWrong when it has characters that no token has."""
    value = value.strip()
    if not value or len(value) > _MOST or not all("!" <= character <= "~" for character in value):
        raise TokenWrong(
            f"{source} does not hold a token: it has blanks, line ends or other characters that no token has, "
            "or is far too long."
        )
    return Secret(value)


def cloud_token_missing() -> TokenMissing:
    """What to raise where Hugging Face needs a token and there is none."""
    return TokenMissing(f"No Hugging Face token: set HF_TOKEN, or log in with `{LOGIN}`.")


def server_key_missing(host: str) -> TokenMissing:
    """What to raise where a Lamplighter wants a key and there is none."""
    return TokenMissing(f"The server at {host} wants a key: set {SERVER_VARIABLE}.")


def _first_of(names: tuple[str, ...], environ: Mapping[str, str] | None) -> Found | None:
    env = os.environ if environ is None else environ
    for name in names:
        if (value := env.get(name, "")).strip():
            return Found(checked(value, name), name)
    return None


def _look_in_login() -> Found | None:
    from httpx2 import HTTPError  # noqa: PLC0415 - these three take a tenth of a second of processor time
    from huggingface_hub import get_token  # noqa: PLC0415
    from huggingface_hub.errors import DeviceCodeError, OIDCError  # noqa: PLC0415

    try:
        value = get_token()
    except (OIDCError, DeviceCodeError, HTTPError, OSError, ValueError) as error:
        raise TokenMissing(
            f"The stored Hugging Face login can't be used ({type(error).__name__}): set HF_TOKEN, or log in anew "
            f"with `{LOGIN}`."
        ) from None
    return Found(checked(value, LOGIN), LOGIN) if value else None
