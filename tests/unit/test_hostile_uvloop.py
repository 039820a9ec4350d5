"""What holds of hostile peers holds on the event loop of production, too: each scene, with the first and last of its cases."""

import inspect
import itertools
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import uvloop

from tests.unit import test_hostile_clients, test_hostile_upstreams


def _marks(test: Any, name: str) -> list[Any]:
    return [mark for mark in getattr(test, "pytestmark", ()) if mark.name == name]


def _is_known_to_fail(test: Any) -> bool:
    return bool(_marks(test, "xfail"))


def _cases(test: Any) -> Iterator[dict[str, Any]]:
    """Arguments for a test: the first and the last of each of its parameters."""
    choices = []
    for mark in _marks(test, "parametrize"):
        names, values = mark.args[0], list(mark.args[1])
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        ends = values[:1] + values[1:][-1:]
        choices.append([dict(zip(names, one if len(names) > 1 else (one,), strict=True)) for one in ends])
    for chosen in itertools.product(*choices):
        yield {name: value for each in chosen for name, value in each.items()}


def _scenes(*modules: ModuleType) -> Iterator[Any]:
    for module in modules:
        for name, test in vars(module).items():
            if not name.startswith("test_") or not inspect.iscoroutinefunction(test) or _is_known_to_fail(test):
                continue
            for number, case in enumerate(_cases(test)):
                if case.keys() == inspect.signature(test).parameters.keys():
                    yield pytest.param(test, case, id=f"{name}-{number}")


@pytest.mark.parametrize(("scene", "case"), list(_scenes(test_hostile_clients, test_hostile_upstreams)))
def test_on_uvloop(scene, case):
    uvloop.run(scene(**case))
