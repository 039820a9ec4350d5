"""An engine's lines in the shapes of this API. Pure.

An engine's output carries no moments of its own, unless the engine writes them. A line that begins with one has that;
any other has that of the line before it, and the first ones that of the endpoint's last start. So the same line bears
the same moment however often it is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lamplighter.api.hf import moments

LEVELS = ("debug", "info", "warning", "error")

_OWN_MOMENT = re.compile(r"\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)\]?")
_REPLICA = re.compile(r"\[(\d{1,6})\] ")
_WORDS = (
    ("error", re.compile(r"\b(error|exception|fatal|critical|panic|traceback)\b", re.IGNORECASE)),
    ("warning", re.compile(r"\bwarn(ing)?\b", re.IGNORECASE)),
    ("debug", re.compile(r"\b(debug|trace)\b", re.IGNORECASE)),
)
_ALIASES = {"warn": "warning", "err": "error", "critical": "error", "fatal": "error", "trace": "debug"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`at` is Unix time, `level` a guess by the words in it."""

    at: float
    text: str
    level: str
    replica: str

    def row(self, longest: int | None = None) -> str:
        """As plain text: `- <timestamp> <line>`."""
        return f"- {moments.written(self.at)} {self.text[:longest]}"

    def structured(self) -> dict[str, Any]:
        """As JSON. Both streams of an engine go to one file, so all is told as `stdout`."""
        return {
            "timestamp": moments.written(self.at),
            "line": self.text,
            "stream": "stdout",
            "replica_id": self.replica,
            "level": self.level,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sieve:
    """Which lines are wanted. `level` is the least severe one; moments are Unix time, `until` excluded."""

    level: str | None = None
    search: str | None = None
    replica: str | None = None
    since: float | None = None
    until: float | None = None

    def lets_through(self, line: Line) -> bool:
        """Whether a line is wanted."""
        if self.level is not None and LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        if self.search is not None and self.search.lower() not in line.text.lower():
            return False
        if self.replica is not None and self.replica != line.replica:
            return False
        return (self.since is None or line.at >= self.since) and (self.until is None or line.at < self.until)


class Reader:
    """Reads lines in their order; `began` is the moment of those before the first that carries one."""

    def __init__(self, name: str, *, replicas: int, began: float) -> None:
        self._name = name
        self._several = replicas > 1
        self._at = began

    def read(self, raw: str) -> Line:
        """Read one line as the provider gives it."""
        text, slot = raw.rstrip("\r\n"), "0"
        if self._several and (found := _REPLICA.match(text)) is not None:
            slot, text = found[1], text[found.end() :]
        if (moment := _own_moment(text)) is not None:
            self._at = moment
        return Line(at=self._at, text=text, level=_level(text), replica=replica_id(self._name, slot))


def replica_id(name: str, slot: str | int) -> str:
    """How a replica is called here."""
    return f"{name}-{slot}"


def level_of(word: str) -> str | None:
    """The level behind a word of a client's; None where it is none."""
    level = _ALIASES.get(word.lower(), word.lower())
    return level if level in LEVELS else None


def _own_moment(text: str) -> float | None:
    found = _OWN_MOMENT.match(text)
    if found is None:
        return None
    try:
        return moments.read(found[1].replace(",", "."))
    except ValueError:
        return None


def _level(text: str) -> str:
    return next((level for level, words in _WORDS if words.search(text)), "info")
