"""The environment variables that override the file. An empty one counts as not set."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lamplighter.config.document import Document
from lamplighter.config.elsewhere import HUGGING_FACE
from lamplighter.config.problems import Place, Problem
from lamplighter.config.remote import parse_url
from lamplighter.config.values import NAME_PATTERN, digest
from lamplighter.secrets.places import is_place

ENDPOINT_PREFIX = "HF_BASE_URL_"

_OVERRIDES = {
    "LAMPLIGHTER_HOST": ("server", "host"),
    "LAMPLIGHTER_PORT": ("server", "port"),
    "LAMPLIGHTER_DATA": ("server", "data"),
    "ENDPOINT_AUTO_SLEEP": ("defaults", "idle_timeout"),
    "ENDPOINT_WAKE_TIMEOUT": ("defaults", "wake_timeout"),
}
_KEYS = "LAMPLIGHTER_KEYS"
_FALLBACK = "LAMPLIGHTER_FALLBACK"
_DIGEST = "sha256:"


def apply(environ: Mapping[str, str], document: Document) -> list[str]:
    """Put the environment's values in the places of the file's; tells what of them does not count, and why."""
    for name, (section, key) in _OVERRIDES.items():
        if value := environ.get(name):
            document.override(section, key, _as_in_file(key, value), f"environment variable {name}")
    if keys := environ.get(_KEYS):
        document.override("server", "keys", _keys(keys), f"environment variable {_KEYS}")
    if (state := environ.get("XDG_STATE_HOME")) and not _says_data(document):
        document.override("server", "data", f"{state}/lamplighter", "environment variable XDG_STATE_HOME")
    return [*_add_endpoints(environ, document), *_add_fallback(environ, document)]


def _as_in_file(key: str, value: str) -> str | int:
    """A variable is text; what is a number in the file becomes one."""
    return int(value) if key == "port" and re.fullmatch(r"[0-9]{1,9}", value) else value


def names_endpoints(environ: Mapping[str, str]) -> bool:
    """Whether the environment alone says what there is to serve."""
    return any(value and name.startswith(ENDPOINT_PREFIX) for name, value in environ.items())


def _add_endpoints(environ: Mapping[str, str], document: Document) -> list[str]:
    """Each `HF_BASE_URL_<ALIAS>` names an endpoint at Hugging Face. What the file says of that name wins."""
    warnings = []
    taken = dict.fromkeys(_names_in_file(document), document.source)
    for variable in sorted(name for name, value in environ.items() if value and name.startswith(ENDPOINT_PREFIX)):
        source = f"environment variable {variable}"
        alias = _as_name(variable.removeprefix(ENDPOINT_PREFIX))
        if problem := _problem_with(alias, environ[variable]):
            document.problems.append(Problem(place=Place(source=source), text=problem))
        elif alias in taken:
            warnings.append(f"{variable} does not count: {alias!r} stands in {taken[alias]}.")
        else:
            taken[alias] = variable
            endpoint = {"provider": HUGGING_FACE, "remote": environ[variable].strip()}
            document.override("endpoints", alias, endpoint, source)
    return warnings


def _add_fallback(environ: Mapping[str, str], document: Document) -> list[str]:
    """`LAMPLIGHTER_FALLBACK=120b,20b` is a route 120b that falls back to 20b. What the file says of that name wins."""
    names = [_as_name(name.strip()) for name in environ.get(_FALLBACK, "").split(",") if name.strip()]
    source = f"environment variable {_FALLBACK}"
    if not names:
        return []
    if len(names) < 2:
        text = f"names {names[0]} alone: it should name a model, and those that it falls back to, such as 120b,20b"
        document.problems.append(Problem(place=Place(source=source), text=text))
        return []
    routes = document.data.get("routes")
    if isinstance(routes, dict) and names[0] in routes:
        return [f"{_FALLBACK} does not count: the route {names[0]!r} stands in {document.source}."]
    document.override("routes", names[0], {"targets": names}, source)
    return []


def _as_name(text: str) -> str:
    """The name of an endpoint, as it is made of what stands behind HF_BASE_URL_."""
    return text.lower().replace("_", "-")


def _problem_with(alias: str, value: str) -> str | None:
    """What is wrong, if anything. The value is not repeated: somebody may have set it to a token by mistake."""
    if not re.fullmatch(NAME_PATTERN, alias):
        return f"{ENDPOINT_PREFIX}<NAME> should end in a name of letters, digits and underscores"
    try:
        parse_url(value)
    except ValueError as error:
        return f"the value {error}"
    return None


def _names_in_file(document: Document) -> set[str]:
    endpoints = document.data.get("endpoints")
    if not isinstance(endpoints, dict):
        return set()
    aliases = [one.get("aliases") for one in endpoints.values() if isinstance(one, dict)]
    listed = [alias for names in aliases if isinstance(names, list) for alias in names if isinstance(alias, str)]
    return {*endpoints, *listed}


def _says_data(document: Document) -> bool:
    return ("server", "data") in document.places


def _keys(text: str) -> list[str]:
    """Here keys may stand in plain text: the environment is one of the places where they belong."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    return [key if key.startswith(_DIGEST) or is_place(key) else f"sha256:{digest(key)}" for key in keys] or [""]
