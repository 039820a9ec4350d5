"""Sessions that were signed out: remembered while a cookie of theirs could still be shown, over restarts too."""

from __future__ import annotations

import json
import os
import secrets
import threading
from pathlib import Path

import structlog

log = structlog.get_logger("lamplighter.web")

_MOST = 10_000


class Ended:
    """Keeps ids of sessions, which open nothing by themselves, in the file at `path`; in memory alone without one."""

    def __init__(self, path: Path | None, now: float) -> None:
        self._path = path
        self._until = {} if path is None else _read(path, now)
        self._writing = threading.Lock()

    def __contains__(self, session: str) -> bool:
        return session in self._until

    def add(self, session: str, until: float, now: float) -> None:
        """Remember a session until this moment (Unix time). Blocks shortly.

        What can't be written counts all the same until this process ends.
        """
        with self._writing:
            kept = {one: at for one, at in self._until.items() if at > now} | {session: until}
            while len(kept) > _MOST:
                del kept[min(kept, key=kept.__getitem__)]
            self._until = kept
            if self._path is None:
                return
            try:
                _write(self._path, kept)
            except OSError as error:
                log.warning("a sign-out may be forgotten with a restart", path=str(self._path), error=error.strerror)


def _read(path: Path, now: float) -> dict[str, float]:
    try:
        content = json.loads(path.read_bytes())
        return {str(one): float(until) for one, until in content.items() if float(until) > now}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        log.warning("who signed out before can't be read: their cookies count until they end", path=str(path))
        return {}


def _write(path: Path, content: dict[str, float]) -> None:
    """Write it whole under another name first: a crash leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
