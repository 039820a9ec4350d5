"""What pydantic found, in the words of the file."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import ErrorDetails

from lamplighter.config.document import Document
from lamplighter.config.file import known_keys
from lamplighter.config.problems import Problem, dotted, near
from lamplighter.config.routes import TAGS
from lamplighter.secrets.places import is_token_like

_SECRET = frozenset({"urls", "webhook", "keys", "key", "env", "headers", "options", "deployment"})
_URLS = frozenset({"remote", "base_url"})
_IN_URLS = frozenset("@?#")
_LONGEST_VALUE = 60
_NOT_IN_FILE = {"[key]"} | TAGS

_AS_WRITTEN = {"None": "an empty value", "True": "true", "False": "false"}

_TEXTS = {
    "missing": "is required",
    "dict_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "frozen_set_type": "should be a list",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text; put it in quotes",
    "string_pattern_mismatch": "should begin with a slash",
    "string_too_short": "should not be empty",
    "too_short": "needs at least one",
}


def problems_of(errors: Sequence[ErrorDetails], document: Document) -> list[Problem]:
    """Translate what was found, without what only follows from something else that was."""
    places = {error["loc"] for error in errors}
    return [problem_of(error, document) for error in errors if not _follows(error, places)]


def _follows(error: ErrorDetails, places: set[tuple[int | str, ...]]) -> bool:
    """A list whose items are all wrong counts as too short, too."""
    own = error["loc"]
    return error["type"] == "too_short" and any(len(one) > len(own) and one[: len(own)] == own for one in places)


def problem_of(error: ErrorDetails, document: Document) -> Problem:
    """Translate one finding."""
    path = tuple(part for part in error["loc"] if part not in _NOT_IN_FILE)
    return Problem(
        place=document.place(path),
        key=dotted(path),
        value=_value(error, path),
        text=_text(error, path),
    )


def _text(error: ErrorDetails, path: Sequence[str | int]) -> str:
    if error["type"] == "extra_forbidden":
        above = path[:-1] or (None,)
        return f"unknown key; {near(str(path[-1]), known_keys(*above))}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return _TEXTS.get(error["type"]) or error["msg"].removeprefix("Input ")


def _value(error: ErrorDetails, path: Sequence[str | int]) -> str | None:
    """What was given; nothing where it may be secret, is long, or says nothing."""
    value = error["input"]
    if _holds_secret(value, path):
        return None
    if error["type"] in {"extra_forbidden", "missing"} or _SECRET.intersection(path) or _is_nested(value):
        return None
    text = _AS_WRITTEN.get(repr(value)) or repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _holds_secret(value: object, path: Sequence[str | int]) -> bool:
    """Whether a URL may have a password or a key in it, under whichever key it stands, or a token stands anywhere."""
    said = str(value)
    is_url = "://" in said or bool(_URLS.intersection(path[-1:]))
    return (is_url and not _IN_URLS.isdisjoint(said)) or is_token_like(said)


def _is_nested(value: object) -> bool:
    """Whether it would show as Python writes it, which nobody has written."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value))
