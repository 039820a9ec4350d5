"""What is wrong with a configuration: all of it at once, each with its place, its key, its value and what is right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lamplighter.errors import ConfigError

Path: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something was said: a file and its line (from 1), or an environment variable."""

    source: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. `text` goes on behind the key; `value` is None where it is missing or secret."""

    place: Place
    text: str
    key: str | None = None
    value: str | None = None

    def error(self) -> ConfigError:
        """The error to raise for this one alone."""
        said = self.text if self.value is None else f"{self.value} {self.text}"
        message = f"{self.key}: {said}" if self.key else said
        return ConfigError(message, field=self.key, source=self.place.source, line=self.place.line)


class ConfigErrors(ConfigError):
    """Several problems of one configuration, in the order of their lines; each is in `errors`."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        lines = "".join(f"\n  {error.message}" for error in errors)
        super().__init__(f"The configuration has {len(errors)} problems:{lines}", field=errors[0].field)
        self.source = errors[0].source
        self.line = errors[0].line
        self.errors = tuple(errors)


def raise_for(problems: Iterable[Problem]) -> None:
    """Raise ConfigError for one problem, ConfigErrors for several, nothing for none."""
    ordered = sorted(problems, key=lambda problem: (problem.place.line is None, problem.place.line or 0))
    errors = [problem.error() for problem in ordered]
    if len(errors) > 1:
        raise ConfigErrors(errors)
    if errors:
        raise errors[0]


def dotted(path: Sequence[str | int]) -> str:
    """Write a path as people do: `endpoints.chat.aliases[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def near(word: str, known: Iterable[str]) -> str:
    """A hint at the right word: the most similar one, else all that there are."""
    names = sorted(known)
    if match := difflib.get_close_matches(word[:80], names, n=1):
        return f"did you mean {match[0]}?"
    return f"known are {', '.join(names)}" if names else "none is known"
