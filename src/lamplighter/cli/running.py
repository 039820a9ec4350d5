"""What `lamplighter run` does: sessions side by side, a command between, and every way out ends the sessions."""

from __future__ import annotations

import asyncio
import signal
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.board import Board
from lamplighter.cli.child import FORWARDED, Child
from lamplighter.cli.output import err
from lamplighter.cli.place import Place
from lamplighter.cli.run import environment
from lamplighter.cli.together import Outcome, tell_failures
from lamplighter.errors import LamplighterError
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.sessions import SessionWarning

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient, OnProgress


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for. `path` is where `words[0]` was found; `timeout` is for the start, in seconds."""

    place: Place
    names: tuple[str, ...]
    path: str
    words: Sequence[str]
    timeout: float
    pauses: bool
    quiet: bool


def execute(run: Run) -> int:
    """Do all of it; returns the exit code."""
    warnings.simplefilter("always", SessionWarning)
    warnings.showwarning = _tell_warning
    return run.place.run(lambda client: _Conductor(client, run).conduct())


def _tell_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"warning: {message}", err=True)


class _Session:
    """One endpoint's session in a task of its own, because a session has to be left by the task that entered it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self.release = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class _Conductor:
    """Starts, runs, ends. A signal cancels the start, goes to the command while that runs, and waits at the end."""

    def __init__(self, client: AsyncClient, run: Run) -> None:
        self._client = client
        self._run = run
        self._child: Child | None = None
        self._starting: asyncio.Task[list[Endpoint]] | None = None
        self._signalled: signal.Signals | None = None
        self._ending = False

    async def conduct(self) -> int:
        loop = asyncio.get_running_loop()
        for number in FORWARDED:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            return await self._conduct()
        finally:
            for number in FORWARDED:
                loop.remove_signal_handler(number)

    async def _conduct(self) -> int:
        sessions = [_Session(name) for name in self._run.names]
        try:
            code = await self._start_and_run(sessions)
        finally:
            self._ending = True
            left = tell_failures(await self._end(sessions))
        return code or left

    async def _start_and_run(self, sessions: Sequence[_Session]) -> int:
        self._starting = asyncio.create_task(self._start(sessions), name="start all sessions")
        try:
            endpoints = await self._starting
        except asyncio.CancelledError:
            if self._signalled is None:
                raise
            return 128 + self._signalled
        if self._signalled is not None:  # it came in the moment between the two
            return 128 + self._signalled
        self._child = Child(self._run.path, self._run.words, environment(endpoints))
        return await self._child.run()

    async def _start(self, sessions: Sequence[_Session]) -> list[Endpoint]:
        with Board(err(), "running", self._run.names) as board:
            for session in sessions:
                watcher = None if self._run.quiet else board.watcher(session.name)
                session.task = asyncio.create_task(self._hold(session, watcher), name=f"session of {session.name}")
            return list(await asyncio.gather(*(session.ready for session in sessions)))

    async def _hold(self, session: _Session, watcher: OnProgress | None) -> None:
        """Enter a session, tell that it is ready, and leave it when told to."""
        try:
            async with self._client.session(
                session.name, auto_pause=self._run.pauses, timeout=self._run.timeout, on_progress=watcher
            ) as endpoint:
                if not session.ready.done():  # cancelled in this very moment
                    session.ready.set_result(endpoint)
                await session.release.wait()
        except LamplighterError as error:
            if session.ready.done():  # it failed to end
                raise
            session.ready.set_exception(error)

    async def _end(self, sessions: Sequence[_Session]) -> list[Outcome[None]]:
        """Leave all sessions; what is still starting is given up and paused. Returns how leaving went."""
        begun = [session for session in sessions if session.task]
        for session in begun:
            assert session.task
            if session.ready.done() and not session.ready.cancelled():
                session.release.set()
            else:
                session.task.cancel()
        ends = await asyncio.gather(*(session.task for session in begun if session.task), return_exceptions=True)
        return [Outcome(session.name, error=_error_of(end)) for session, end in zip(begun, ends, strict=True)]

    def _on_signal(self, number: signal.Signals) -> None:
        if self._ending:
            click.echo("pausing the endpoints first; one moment", err=True)
        elif self._child is not None:
            self._child.signal(number)
        else:
            self._signalled = self._signalled or number
            if self._starting:
                self._starting.cancel()
            click.echo(f"{signal.Signals(number).name}: pausing what was begun", err=True)


def _error_of(end: BaseException | None) -> LamplighterError | None:
    """The error that a session's task ended in; being cancelled is none."""
    if end is None or isinstance(end, asyncio.CancelledError):
        return None
    if isinstance(end, LamplighterError):
        return end
    raise end
