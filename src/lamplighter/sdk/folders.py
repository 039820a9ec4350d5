"""Where the SDK keeps what outlives a process, and locks between processes. Watchdogs use it: it imports little."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def state_folder() -> Path:
    """`$XDG_STATE_HOME/lamplighter`, by default `~/.local/state/lamplighter`. Not made by this."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path("~/.local/state").expanduser()  # noqa: PTH117 - as the standard
    return base / "lamplighter"


def session_folder(base: str, namespace: str, name: str) -> Path:
    """The folder in which the sessions of this user on one endpoint find each other."""
    digest = hashlib.sha256(f"{base}\n{namespace}\n{name}".encode()).hexdigest()[:32]
    return state_folder() / "sessions" / digest


def make_private(folder: Path) -> Path:
    """Make a folder for this user alone. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class FileLock:
    """A lock that the kernel lets go of when its holder dies, in whatever way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def try_take(self) -> bool:
        """Take it if nobody has it. Raises OSError where the file can't be made."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Let the next one in; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def is_locked(path: Path) -> bool:
    """Whether somebody alive holds the lock of this file."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(file)


WATCHED = ".session"
"""What the file of each session is called at its end; its watchdog holds the lock of it for as long as it lives."""

WISH = "pause"
"""A file that is there when any of the sessions asked for a pause at the end."""


def others(folder: Path, own: Path | None) -> list[Path]:
    """The files of other sessions that are alive; those of dead ones are removed. Call it under the folder's lock."""
    alive = []
    for file in folder.glob(f"*{WATCHED}"):
        if own is not None and file.name == own.name:
            continue
        if is_locked(file):
            alive.append(file)
        else:
            remove(file)
    return alive


def wish(folder: Path) -> None:
    """Note that a session wants a pause at the end. Raises OSError."""
    (folder / WISH).touch(mode=0o600)


def is_wished(folder: Path) -> bool:
    """Whether any session noted that it wants a pause; a folder that can't be read says nothing."""
    try:
        return (folder / WISH).exists()
    except OSError:
        return False


def is_left_to_others(folder: Path, own: Path, *, pauses: bool) -> bool:
    """Whether another session that is alive goes on holding the endpoint; then it inherits the wish for a pause.

    A folder that can't be used hides them all: then nobody is known to hold it, and what is billed is paused.
    """
    try:
        if not others(folder, own):
            return False
        if pauses:
            wish(folder)
    except OSError:
        return False
    return True


def remove(file: Path) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def held(lock: FileLock) -> Iterator[None]:
    """Release at the end what was taken."""
    try:
        yield
    finally:
        lock.release()
