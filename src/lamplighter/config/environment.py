"""The environment variables that override the file. An empty one counts as not set."""

from __future__ import annotations

from collections.abc import Mapping

from lamplighter.config.document import Document
from lamplighter.config.values import digest

_OVERRIDES = {
    "LAMPLIGHTER_HOST": ("server", "host"),
    "LAMPLIGHTER_PORT": ("server", "port"),
    "LAMPLIGHTER_DATA": ("server", "data"),
    "ENDPOINT_AUTO_SLEEP": ("defaults", "idle_timeout"),
    "ENDPOINT_WAKE_TIMEOUT": ("defaults", "wake_timeout"),
}
_KEYS = "LAMPLIGHTER_KEYS"
_BY_PLACE = ("env:", "file:", "sha256:")


def apply(environ: Mapping[str, str], document: Document) -> None:
    """Put the environment's values in the places of the file's."""
    for name, (section, key) in _OVERRIDES.items():
        if value := environ.get(name):
            document.override(section, key, value, f"environment variable {name}")
    if keys := environ.get(_KEYS):
        document.override("server", "keys", _keys(keys), f"environment variable {_KEYS}")
    if (state := environ.get("XDG_STATE_HOME")) and not _says_data(document):
        document.override("server", "data", f"{state}/lamplighter", "environment variable XDG_STATE_HOME")


def _says_data(document: Document) -> bool:
    return ("server", "data") in document.places


def _keys(text: str) -> list[str]:
    """Here keys may stand in plain text: the environment is one of the places where they belong."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    return [key if key.startswith(_BY_PLACE) else f"sha256:{digest(key)}" for key in keys] or [""]
