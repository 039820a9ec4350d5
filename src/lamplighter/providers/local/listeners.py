"""Whose a listening port is.

Read from Linux's /proc directly: psutil reads every connection of the machine for it, and every start waits for this.
Elsewhere nothing can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN = b"0A"


def listening_sockets(port: int) -> frozenset[str]:
    """The sockets that listen on this port, as links in `/proc/<pid>/fd` name them; empty where none can be seen."""
    suffix = b":%04X" % port
    inodes = (fields[9] for table in _TABLES for fields in _listeners(table) if fields[1].endswith(suffix))
    return frozenset(f"socket:[{inode.decode()}]" for inode in inodes)


def holds(pid: int, sockets: frozenset[str]) -> bool:
    """Whether the process has one of these sockets open, as far as we may look into it."""
    try:
        files = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return any(_target(file) in sockets for file in files)


def holder(sockets: frozenset[str]) -> int | None:
    """A process that has one of these sockets open, None where none can be seen."""
    return next((pid for pid in psutil.pids() if holds(pid, sockets)), None)


def _target(file: Path) -> str | None:
    try:
        return str(file.readlink())
    except OSError:  # it was closed meanwhile
        return None


def _listeners(table: Path) -> Iterator[list[bytes]]:
    """The kernel lists listening sockets first, so a machine with many connections costs no more than others."""
    try:
        with table.open("rb") as lines:
            next(lines, None)  # the heading
            for line in lines:
                fields = line.split()
                if len(fields) < 10 or fields[3] != _LISTEN:
                    return
                yield fields
    except OSError:
        return
