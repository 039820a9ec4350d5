"""Processes that stand by this one, and act when it is gone: how they are started, told and let go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import lamplighter
from lamplighter.errors import Unavailable
from lamplighter.sdk.watchdog import DONE, READY

log = logging.getLogger("lamplighter.sdk")

_READY_PATIENCE = 30.0
_END_PATIENCE = 5.0
_PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
    "XDG_STATE_HOME",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)


class Standby:
    """One such process. It is told over a pipe, and takes the end of that pipe for the end of this process."""

    def __init__(self, process: subprocess.Popen[bytes], what: str) -> None:
        self._process: subprocess.Popen[bytes] | None = process
        self._what = what

    @classmethod
    async def begin(cls, module: str, order: bytes, what: str) -> Standby:
        """Start `python -m module`, give it the line `order`, and wait until it stands by. Raises Unavailable."""
        process = await asyncio.to_thread(_start, module, what)
        try:
            assert process.stdin is not None
            os.set_blocking(process.stdin.fileno(), False)
            os.write(process.stdin.fileno(), order)
            await asyncio.to_thread(_await_ready, process, what)
        except BaseException as error:
            process.kill()
            _close_pipes(process)
            _reap_later(process)
            if isinstance(error, OSError):
                raise Unavailable(f"{what} could not be started: {error.strerror}.") from error
            raise
        return cls(process, what)

    def tell(self, words: bytes) -> bool:
        """Write without ever waiting: one that is stopped or stuck must not stop us. False when it is gone."""
        if self._process is None or self._process.stdin is None:
            return False
        try:
            os.write(self._process.stdin.fileno(), words)
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False
        return True

    def abandon(self) -> None:
        """Let it act: the end of the pipe tells it."""
        process, self._process = self._process, None
        if process is not None:
            _close_pipes(process)
            _reap_later(process)

    async def dismiss(self) -> None:
        """Tell it that it is not needed any more, and see it end."""
        self.tell(DONE + b"\n")
        process, self._process = self._process, None
        if process is None:
            return
        _close_pipes(process)
        try:
            await asyncio.to_thread(process.wait, _END_PATIENCE)
        except subprocess.TimeoutExpired:
            log.warning("%s (process %d) does not end", self._what, process.pid)
            _reap_later(process)


def _start(module: str, what: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_environment(os.environ),
            start_new_session=True,  # what ends the program's own group, such as Ctrl-C, must not end it
        )
    except OSError as error:
        raise Unavailable(f"{what} could not be started: {error.strerror}.") from error


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What such a process needs; nothing in which a token could stand."""
    source = str(Path(lamplighter.__file__).parents[1])
    return {key: environ[key] for key in _PASSED_ON if key in environ} | {"PYTHONPATH": source}


def _await_ready(process: subprocess.Popen[bytes], what: str) -> None:
    assert process.stdout is not None
    poll = select.poll()  # not `select`: a program may have more files open than that can count
    poll.register(process.stdout.fileno(), select.POLLIN)
    said = os.read(process.stdout.fileno(), len(READY)) if poll.poll(_READY_PATIENCE * 1000) else b""
    process.stdout.close()
    if said != READY:
        raise Unavailable(f"{what} could not be started; nothing was woken.")


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


_unreaped: list[subprocess.Popen[bytes]] = []


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """Keep it until it has ended, and look after those that were kept before."""
    _unreaped.append(process)
    _unreaped[:] = [kept for kept in _unreaped if kept.poll() is None]
