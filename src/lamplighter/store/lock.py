"""One server per database."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from lamplighter.errors import Conflict, StoreError


class DatabaseLock:
    """Held by this process until `release`, or until it dies in whatever way: the kernel lets go then.

    Python opens files close-on-exec, so engines that outlive the server do not keep the lock.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock of `database`. Raises Conflict with the holder's process id, StoreError."""
        path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"The lock file {path} can't be opened: {error.strerror}.") from error
        try:
            self._take(database)
        except BaseException:
            os.close(self._file)
            raise

    def release(self) -> None:
        """Let the next server in. The file stays: removing it would let two servers lock two files of one name."""
        os.close(self._file)

    def _take(self, database: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            raise Conflict(
                f"Another Lamplighter (process {self._holder()}) uses {database}. "
                "Stop it first, or give this one a data folder of its own."
            ) from None
        except OSError as error:
            raise StoreError(f"{database} can't be locked: {error.strerror}.") from error

    def _holder(self) -> str:
        return os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
