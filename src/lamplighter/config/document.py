"""YAML that remembers where everything stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lamplighter.config.problems import Path, Place, Problem, dotted

_MOST_NODES = 100_000
"""More than any real file; a few lines of nested aliases would grow without end."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain words only: `on`, `010` and `1:30` stay text instead of turning into True, 8 and 90."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way to say it


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.|[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


@dataclass(slots=True)
class Document:
    """What a file says. `places` tells for each key, and each item of a list, where it stands."""

    source: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Sequence[str | int]) -> Place:
        """Where `path` stands, or the nearest thing above it that is there."""
        for end in range(len(path), 0, -1):
            if place := self.places.get(tuple(path[:end])):
                return place
        return Place(source=self.source)

    def override(self, section: str, key: str, value: Any, source: str) -> None:
        """Set a value that stands elsewhere, such as in an environment variable."""
        inner = self.data[section] = self.data.get(section) or {}
        if isinstance(inner, dict):  # else the section is wrong itself, and will be told
            inner[key] = value
            self.places = {path: place for path, place in self.places.items() if path[:2] != (section, key)}
            self.places[(section, key)] = Place(source=source)


def read(text: str, source: str) -> Document:
    """Parse a mapping; problems of form are collected in the document's `problems`."""
    document = Document(source=source)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            document.problems.append(Problem(place=_place(source, root), text="should be a mapping of keys to values"))
        elif root is not None:
            document.data = _Reader(loader, document).mapping(root, ())
    except yaml.YAMLError as error:
        document.problems.append(_syntax(error, source))
    return document


class _Reader:
    """Turns nodes into plain values and notes their places."""

    def __init__(self, loader: _Loader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._open: set[int] = set()
        self._nodes = 0

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        """Keys are text as it was written: an endpoint may be called 120."""
        self._refuse_duplicates(node, path)
        self._loader.flatten_mapping(node)
        result = {}
        for key, value in node.value:
            name = str(key.value)
            self._document.places[(*path, name)] = _place(self._document.source, key)
            result[name] = self._value(value, (*path, name))
        return result

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise yaml.MarkedYAMLError(problem="has too many values", problem_mark=node.start_mark)
        if id(node) in self._open:
            raise yaml.MarkedYAMLError(problem="an alias refers to what it stands in", problem_mark=node.start_mark)
        self._open.add(id(node))
        try:
            return self._plain(node, path)
        finally:
            self._open.discard(id(node))

    def _plain(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._document.places[(*path, index)] = _place(self._document.source, item)
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _refuse_duplicates(self, node: yaml.MappingNode, path: Path) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                text = f"stands here a second time; the first is in line {seen[name]}"
                problem = Problem(place=_place(self._document.source, key), key=dotted((*path, name)), text=text)
                self._document.problems.append(problem)
            seen.setdefault(name, line)


def _place(source: str, node: yaml.Node) -> Place:
    return Place(source=source, line=node.start_mark.line + 1)


def _syntax(error: yaml.YAMLError, source: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        line = error.problem_mark.line + 1 if error.problem_mark else None
        text = ": ".join(filter(None, (error.context, error.problem)))
        return Problem(place=Place(source=source, line=line), text=f"this is not YAML: {text}")
    return Problem(place=Place(source=source), text=f"this is not YAML: {' '.join(str(error).split())}")
