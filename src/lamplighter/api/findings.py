"""What pydantic finds wrong with a request, in our own words: the field, what would be right, and what was given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args, get_type_hints

from fastapi import Request
from pydantic import BaseModel

from lamplighter.config.problems import Path, dotted, near

_MOST_TOLD = 10
_LONGEST_NAME = 80
_LONGEST_VALUE = 60

_RIGHT: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number with fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_unicode": "text in valid Unicode",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "{min_length} or more characters long",
    "string_too_long": "at most {max_length} characters long",
    "too_long": "at most {max_length} items long",
    "enum": "{expected}",
    "literal_error": "{expected}",
}
"""By pydantic's word for what is wrong, see https://docs.pydantic.dev/latest/errors/validation_errors/."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `text` says what would be right, `value` what was given, where that says anything."""

    field: str
    text: str
    value: str | None = None

    def __str__(self) -> str:
        got = "" if self.value is None else f"; got {self.value}"
        return f"{self.field}: {self.text}{got}"


def findings(request: Request, errors: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """All that is wrong with the inputs of a route, in pydantic's order."""
    return [_finding(request, error) for error in errors]


def told(found: Sequence[Finding]) -> str:
    """A text of them all: one after the other, at most ten."""
    more = len(found) - _MOST_TOLD
    return ". ".join(str(one) for one in found[:_MOST_TOLD]) + (f". And {more} more" if more > 0 else "")


def _finding(request: Request, error: Mapping[str, Any]) -> Finding:
    inside: Path = tuple(error["loc"])[1:]
    field = dotted([_cut(part) for part in inside]) or str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return Finding(field, _unknown(str(inside[-1]), _members(request, inside[:-1])))
    if error["type"] == "missing":
        return Finding(field, "is required")
    if error["type"] == "value_error":
        return Finding(field, str(error["ctx"]["error"]))
    right = _RIGHT.get(error["type"])
    if right is None:
        return Finding(field, f"is not right ({error['type'].replace('_', ' ')})", _shown(error["input"]))
    limits = {name: _number(limit) for name, limit in error.get("ctx", {}).items()}
    return Finding(field, f"should be {right.format(**limits)}", _shown(error["input"]))


def _cut(part: str | int) -> str | int:
    """A client may have made up the name of a member, at any length."""
    if isinstance(part, int):
        return part
    printable = part if part.isprintable() else ascii(part)[1:-1]
    return printable if len(printable) <= _LONGEST_NAME else printable[: _LONGEST_NAME - 1] + "…"


def _unknown(name: str, known: Sequence[str]) -> str:
    hint, everything = near(name, known), ", ".join(sorted(known))
    return f"no such member; {hint}" if hint.endswith(everything) else f"no such member; {hint} Known are {everything}"


def _members(request: Request, path: Path) -> list[str]:
    """The members of the object at `path` in the body that the request's route takes."""
    hints = get_type_hints(request.scope["route"].endpoint)
    hints.pop("return", None)
    model = next((one for hint in hints.values() if (one := _model(hint)) is not None), None)
    for part in path:
        inner = model.model_fields.get(str(part)) if model is not None else None
        model = _model(inner.annotation) if inner is not None else None
    return list(model.model_fields) if model is not None else []


def _model(annotation: Any) -> type[BaseModel] | None:
    """The form that an annotation means, `X | None` included."""
    found = (one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, BaseModel))
    return next(found, None)


def _number(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _shown(value: object) -> str:
    """What was given, short; of what holds more, only what it is."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
