"""What is written down of each replica, so that a server that comes after a SIGKILL can adopt it.

One JSON file per replica, in the state folder. It is there before the process is: killed between starting a process
and writing its id, we still find it by the marker in its environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import msgspec
import structlog

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.engines.base import Launch
from lamplighter.errors import Conflict, ProviderError

log = structlog.get_logger("lamplighter.providers.local")


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One replica that was started. `pid` and `mark` are None until the process is there; `grace` is in seconds."""

    id: str
    endpoint: str
    slot: int
    port: int
    model: str | None
    digest: str
    grace: float
    pid: int | None = None
    mark: str | None = None


def launch_digest(spec: EngineSpec, launch: Launch) -> str:
    """Tells whether a process that runs is the one that this spec would start. Holds no readable secret."""
    parts = (spec.engine, spec.model, launch.argv, sorted(launch.env.items()), launch.cwd)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class RunFiles:
    """The state folder. Only one server at a time may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None

    @property
    def marker_prefix(self) -> str:
        """How the markers of all replicas of this state folder begin."""
        return hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16] + ":"

    def open(self) -> None:
        """Make the folder and take it for this process. Raises Conflict, ProviderError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)  # close-on-exec: engines don't hold it
        except OSError as error:
            raise ProviderError(f"the state folder {self.folder} can't be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise Conflict(f"another server uses the state folder {self.folder}") from error
        self._lock = lock

    def close(self) -> None:
        """Let another server use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, record: RunRecord) -> None:
        """Write atomically: a reader finds the old record or the new one. Raises ProviderError (the disk is full)."""
        path = self._path(record.id)
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(record))
            fresh.replace(path)
        except OSError as error:
            raise ProviderError(f"the run file {path} can't be written: {error.strerror}") from error

    def remove(self, replica_id: str) -> None:
        """Forget a replica. A file that can't be removed names a process that is gone, and is cleaned up later."""
        try:
            self._path(replica_id).unlink(missing_ok=True)
        except OSError as error:
            log.warning("run file not removed", replica=replica_id, error=error.strerror)

    def read(self) -> list[RunRecord]:
        """All records. One that can't be read is dropped: its process is still found by its marker."""
        records = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                records.append(msgspec.json.decode(path.read_bytes(), type=RunRecord))
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("run file not readable", path=str(path), error=type(error).__name__)
                path.unlink(missing_ok=True)
        return records

    def _path(self, replica_id: str) -> Path:
        return self.folder / f"{replica_id}.json"
