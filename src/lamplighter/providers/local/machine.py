"""What all replicas of a local provider share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamplighter.providers.local.logs import LogFile
from lamplighter.providers.local.names import file_name
from lamplighter.providers.local.ports import PortPool
from lamplighter.providers.local.rotation import LogRotator
from lamplighter.providers.local.runfiles import RunFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The host to listen on, ports, run files and logs. `log_bytes` bounds one file, `log_files` counts them.

    `withheld` are environment variables that engines do not inherit.
    """

    host: str
    ports: PortPool
    runs: RunFiles
    rotator: LogRotator
    log_dir: Path
    log_bytes: int
    log_files: int
    withheld: frozenset[str] = frozenset()

    def log_folder(self, endpoint: str) -> Path:
        """Where the logs of an endpoint's replicas are."""
        return self.log_dir / file_name(endpoint)

    def log_file(self, endpoint: str, slot: int) -> LogFile:
        """The log of one replica. Its user keeps it: rotations are counted in the object."""
        path = self.log_folder(endpoint) / f"{slot}.log"
        return LogFile(path, max_bytes=self.log_bytes, files=self.log_files)

    def forget(self, replica_id: str, port: int | None) -> None:
        """Nothing is left of this replica."""
        self.runs.remove(replica_id)
        if port is not None:
            self.ports.release(port)
