"""Running somebody's command as if we were not there: its terminal, its signals, its exit code."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from lamplighter.errors import LamplighterError

NOT_FOUND = 127
NOT_EXECUTABLE = 126
FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_FROM_KEYBOARD = {signal.SIGINT, signal.SIGQUIT}


class NoSuchCommand(LamplighterError):
    """There is no such command (127), or it can't be executed (126), as shells have it."""

    code = "no_such_command"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def find_command(word: str) -> str:
    """Where a command is. Raises NoSuchCommand."""
    if found := shutil.which(word):
        return found
    if os.path.dirname(word) and os.path.exists(word):  # noqa: PTH110, PTH120 - `./x` and `x` differ, Paths don't
        raise NoSuchCommand(f"{word}: it is there, but can't be executed", NOT_EXECUTABLE)
    raise NoSuchCommand(f"{word}: command not found", NOT_FOUND)


class Child:
    """One command, in our own process group, with our standard streams."""

    def __init__(self, path: str, words: Sequence[str], environ: Mapping[str, str]) -> None:
        self._path = path
        self._words = words
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._interrupted = False

    async def run(self) -> int:
        """Start it and wait for its end; returns its exit code, 128 and the signal's number if one ended it."""
        try:
            # The name it is called by stays the one that was typed: some programs act by it.
            self._process = await asyncio.create_subprocess_exec(
                self._words[0], *self._words[1:], executable=self._path, env=dict(self._environ)
            )
        except OSError as error:
            raise NoSuchCommand(f"{self._words[0]}: {error.strerror}", NOT_EXECUTABLE) from error
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on. What comes from the keyboard has reached the command already, with our whole group."""
        if number in _FROM_KEYBOARD and _in_foreground() and not self._interrupted:
            self._interrupted = True  # a second one may have been sent to us alone
            return
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def _in_foreground() -> bool:
    """Whether our process group is the one that a terminal's keyboard speaks to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
