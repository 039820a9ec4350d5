"""Runs the demo's server and story in one process, and ends both in every way out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from lamplighter.cli.demo import model
from lamplighter.cli.demo.exploring import explore
from lamplighter.cli.demo.stage import Stage
from lamplighter.cli.demo.story import Story
from lamplighter.cli.demo.talk import Talk
from lamplighter.config import Settings
from lamplighter.logs import configure_logging
from lamplighter.runtime import Server, running

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def play(settings: Settings, stage: Stage, *, prompt: str, once: bool) -> int:
    """Show it all; returns the exit code. Raises LamplighterError. No engine is left behind."""
    configure_logging(level="critical")  # a failure is told once, by the demo itself
    model.fetch(stage)  # before the event loop: Ctrl-C ends a download at once, and the next one continues it
    return asyncio.run(_play(settings, stage, prompt, once=once))


async def _play(settings: Settings, stage: Stage, prompt: str, *, once: bool) -> int:
    ending = _Ending()
    with ending.on_signals():
        try:
            async with running(settings) as server, Talk(server.url) as talk:
                ending.server = server
                await Story(stage, server, talk).tell(prompt)
                ending.told = True
                if not once:
                    await explore(stage, server)
        except asyncio.CancelledError:
            if ending.by is None:
                raise
            stage.say("Stopped; the engines have ended.", style="dim")
    return ending.exit_code


class _Ending:
    """What a signal does: the first one ends the demo in order, a second one in a hurry."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.told = False
        self.by: signal.Signals | None = None
        self._task = asyncio.current_task()

    @property
    def exit_code(self) -> int:
        """0 when the story was told to its end: a signal is how the rest is meant to end."""
        return 0 if self.told or self.by is None else 128 + self.by

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to signals while the context lasts."""
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _ENDS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.by is None:
            self.by = number
            assert self._task is not None
            self._task.cancel()
        elif self.server:
            self.server.hurry()
