"""Doing the same with several endpoints side by side, where one that fails does not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import click

from lamplighter.errors import LamplighterError

T = TypeVar("T")

AT_ONCE = 16
"""How many are worked on at a time: management APIs count questions."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one: a result, or the error that it ended in."""

    name: str
    result: T | None = None
    error: LamplighterError | None = None


async def side_by_side(names: Sequence[str], act: Callable[[str], Awaitable[T]]) -> list[Outcome[T]]:
    """Act on each name; returns the outcomes in the order of the names."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Outcome[T]:
        async with turns:
            try:
                return Outcome(name, result=await act(name))
            except LamplighterError as error:
                return Outcome(name, error=error)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(name), name=f"{name} among others") for name in names]
    return [task.result() for task in tasks]


def tell_failures(outcomes: Sequence[Outcome[T]]) -> int:
    """Say on standard error what failed; returns the exit code: 0, that of all failures, or 1 where they differ."""
    errors = [(outcome.name, outcome.error) for outcome in outcomes if outcome.error]
    for name, error in errors:
        click.echo(f"error: {name}: {error.message}", err=True)
    codes = {error.exit_code for _, error in errors}
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1
