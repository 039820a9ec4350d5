"""Reading the fields of a request in task form, each with its kind and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lamplighter.gateway.refusals import TaskInvalid

_LARGEST = 1e6


class Fields:
    """An object of a request.

    Every method returns None for a field that is left out or null, and raises TaskInvalid for one that is not right.
    """

    __slots__ = ("_values", "_where")

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        """`where` is the field that holds the object, for messages."""
        self._values = values
        self._where = f"{where}." if where else ""

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self._values.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self.wrong(name, value, "true or false")

    def count(self, name: str, *, least: int) -> int | None:
        """A whole number."""
        value = self._values.get(name)
        if value is None or (type(value) is int and value >= least):
            return value
        raise self.wrong(name, value, f"a whole number of at least {least}")

    def number(self, name: str, *, above: float, least: bool = False, most: float | None = None) -> float | None:
        """A number greater than `above` (or equal, with `least`), and at most `most`; never more than a million.

        No parameter of an engine is larger, and JSON has numbers that are too large for any arithmetic.
        """
        value = self._values.get(name)
        if value is None:
            return None
        right = type(value) in {int, float} and (value > above or (least and value == above))
        if right and value <= (_LARGEST if most is None else most):
            return float(value)
        most = _LARGEST if right and most is None else most
        bounds = f"{'at least' if least else 'greater than'} {above:g}" + (f" and at most {most:.0f}" if most else "")
        raise self.wrong(name, value, f"a number {bounds}")

    def texts(self, name: str) -> list[str] | None:
        """A list of texts that are not empty; a single text stands for a list of one."""
        value = self._values.get(name)
        if value is None:
            return None
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and all(isinstance(text, str) and text for text in texts):
            return texts
        raise self.wrong(name, value, "a list of texts that are not empty")

    def inside(self, name: str) -> Fields:
        """An object; an empty one when it is left out."""
        value = self._values.get(name)
        if value is None or isinstance(value, dict):
            return Fields(value or {}, f"{self._where}{name}")
        raise self.wrong(name, value, "an object")

    def raw(self, name: str) -> Any:
        """The value as it is."""
        return self._values.get(name)

    def wrong(self, name: str, value: object, right: str) -> TaskInvalid:
        """The error for a value that is not right."""
        return TaskInvalid(f"{self._where}{name} must be {right}; got {shown(value)}.", field=f"{self._where}{name}")


def shown(value: object) -> str:
    """A value as a message shows it."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return msgspec.json.encode(value).decode()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
