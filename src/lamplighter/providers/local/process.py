"""One operating-system process: starting it, knowing it again, noticing its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from lamplighter.engines.base import Launch
from lamplighter.errors import EngineError
from lamplighter.secrets.sources import OWN_VARIABLES

_POLL_EVERY = 0.2
_OURS = OWN_VARIABLES | {"LAMPLIGHTER_KEY", "LAMPLIGHTER_KEYS", "HF_TOKEN", "HUGGINGFACE_API_KEY"}
_SCARCE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def spawn(launch: Launch, marker: Mapping[str, str], output: int, withheld: frozenset[str] = frozenset()) -> int:
    """Start the engine in a session of its own and return its process id, which is the session's and group's too.

    It inherits our environment, less our keys and tokens and what is `withheld`. `output` is a file descriptor for
    what it prints. It runs on the event loop, for a millisecond or two: done in a thread, a cancelled wake could lose
    sight of a process just started. Raises EngineError, permanent where the command or the folder is wrong.
    """
    if launch.cwd is not None and not Path(launch.cwd).is_dir():
        raise EngineError(f"the working folder {launch.cwd} does not exist", permanent=True)
    try:
        process = subprocess.Popen(
            launch.argv,
            env={**_inherited(withheld), **launch.env, **marker},
            cwd=launch.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        raise _cannot_start(launch, error) from error
    process.returncode = 0  # we watch and reap by process id, as for adopted engines; Popen need not mind any more
    return process.pid


def _inherited(withheld: frozenset[str]) -> dict[str, str]:
    """Our environment, less the keys to this server and the tokens for others: an engine is a user of neither.

    An engine may run what others sent us, and its log is shown to them. One that needs a token names it in its `env`.
    """
    return {name: value for name, value in os.environ.items() if name not in _OURS and name not in withheld}


def _cannot_start(launch: Launch, error: Exception) -> EngineError:
    command = launch.argv[0] if launch.argv else ""
    if isinstance(error, FileNotFoundError):
        return EngineError(f"the command {command!r} was not found, or what its first line names", permanent=True)
    if isinstance(error, PermissionError):
        return EngineError(f"the command {command!r} may not be executed", permanent=True)
    reason = error.strerror if isinstance(error, OSError) else "the command line is not valid"
    scarce = isinstance(error, OSError) and error.errno in _SCARCE
    return EngineError(f"the command {command!r} could not be started: {reason}", permanent=not scarce)


def start_mark(pid: int) -> str | None:
    """What tells a process from a later one with the same id; None when there is none alive.

    The kernel's start ticks and the boot's id do not move when the clock is set, unlike a creation time.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return None
        return f"{_boot_id()}:{int(fields[19])}"
    except (OSError, ValueError, IndexError):
        return _portable_mark(pid)


@functools.cache
def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _portable_mark(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def reap(pid: int) -> None:
    """Let the kernel forget an ended child. No error for a process that is not our child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def exit_text(status: int | None) -> str:
    """How a process ended, for people. Negative is a signal's number, None is not known."""
    if status is None:
        return "ended (its exit code is not known: an earlier server had started it)"
    if status >= 0:
        return f"exited with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}" + (" (often: out of memory)" if -status == signal.SIGKILL else "")


class ExitWatch:
    """Notices the end of a process, be it our child or not.

    Uses a pidfd where the kernel has it, else looks at the process five times a second. `exited` is set, then
    `on_exit` is called, once, on the event loop. The process stays a zombie until `reap`: so its id, which is the
    group's too, is not given to another process while the rest of its group is being ended.
    """

    def __init__(self, pid: int, mark: str | None, on_exit: Callable[[], None]) -> None:
        self.pid = pid
        self.status: int | None = None
        self.exited = asyncio.Event()
        self._mark = mark
        self._on_exit = on_exit
        self._pidfd: int | None = None
        self._poll: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch; the end may be reported at once, but never from within this call."""
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (OSError, AttributeError):  # it is gone already, or this system has no pidfd
            self._poll = asyncio.create_task(self._look_often(), name=f"watch process {self.pid}")
        else:
            asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def stop(self) -> None:
        """Watch no longer."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    async def _look_often(self) -> None:
        while start_mark(self.pid) == self._mark is not None:  # noqa: ASYNC110 (nothing would set an event)
            await asyncio.sleep(_POLL_EVERY)
        self._poll = None
        self._ended()

    def _ended(self) -> None:
        self.stop()
        self.status = _exit_status(self.pid)
        self.exited.set()
        self._on_exit()


def _exit_status(pid: int) -> int | None:
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if info is None:
        return None
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
