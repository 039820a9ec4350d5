"""What `lamplighter run` does: sessions side by side, a command between, and every way out ends the sessions."""

from __future__ import annotations

import asyncio
import signal
import warnings
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lamplighter.cli.reach.place import Place
from lamplighter.cli.reach.together import Outcome, tell_failures
from lamplighter.cli.run.child import FORWARDED, Child
from lamplighter.cli.run.command import environment
from lamplighter.cli.show.board import Board
from lamplighter.cli.show.output import err
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

    def __init__(self, name: str, hold: Callable[[_Session], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self.ready: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self.release = asyncio.Event()
        self.task = asyncio.create_task(hold(self), name=f"session of {name}")
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Whoever waits for it to be ready learns that it will not be, whatever the reason."""
        if self.ready.done():
            return
        error = None if task.cancelled() else task.exception()
        if error is None:
            self.ready.cancel()
        else:
            self.ready.set_exception(error)

    def error_at_end(self) -> BaseException | None:
        """What its end failed with, once it is over; a start that failed has been told by `ready`."""
        error = None if self.task.cancelled() else self.task.exception()
        told = self.ready.exception() if self.ready.done() and not self.ready.cancelled() else None
        return None if error is told else error


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
        sessions: list[_Session] = []
        try:
            code = await self._start_and_run(sessions)
        finally:
            self._ending = True
            left = tell_failures(await self._end(sessions))
        return code or left

    async def _start_and_run(self, sessions: list[_Session]) -> int:
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

    async def _start(self, sessions: list[_Session]) -> list[Endpoint]:
        with Board(err(), "running", self._run.names) as board:
            for name in self._run.names:
                watcher = None if self._run.quiet else board.watcher(name)
                sessions.append(_Session(name, partial(self._hold, watcher)))
            return list(await asyncio.gather(*(session.ready for session in sessions)))

    async def _hold(self, watcher: OnProgress | None, session: _Session) -> None:
        """Enter a session, tell that it is ready, and leave it when told to."""
        async with self._client.session(
            session.name, auto_pause=self._run.pauses, timeout=self._run.timeout, on_progress=watcher
        ) as endpoint:
            if not session.ready.done():  # cancelled in this very moment
                session.ready.set_result(endpoint)
            await session.release.wait()

    async def _end(self, sessions: Sequence[_Session]) -> list[Outcome[None]]:
        """Leave all sessions; what is still starting is given up and paused. Returns how leaving went."""
        for session in sessions:
            if session.ready.done() and not session.ready.cancelled():
                session.release.set()
            else:
                session.task.cancel()
        if sessions:
            await asyncio.wait([session.task for session in sessions])
        return [Outcome(session.name, error=_expected(session.error_at_end())) for session in sessions]

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


def _expected(error: BaseException | None) -> LamplighterError | None:
    """An error that can be told; any other one is raised."""
    if error is None or isinstance(error, LamplighterError):
        return error
    raise error
