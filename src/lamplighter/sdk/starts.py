"""How long earlier starts of endpoints took: a small file that programs of this user share."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from lamplighter.sdk.folders import FileLock, make_private, state_folder

KEPT = 10
"""Durations kept per endpoint; the newest is the last."""

_MOST_ENDPOINTS = 1000
_PATIENCE = 1.0
_MOST_BYTES = 1_000_000
_LONGEST = 86400.0


class StartTimes:
    """Keeps durations in seconds under `base`, namespace and name. A file that is broken counts as empty.

    Nothing here raises: what was learned is a help, and not worth failing for.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or state_folder() / "starts.json"

    def expected(self, base: str, namespace: str, name: str) -> float | None:
        """The median of what is known, or None."""
        known = self._read().get(_key(base, namespace, name), [])
        return statistics.median(known) if known else None

    def learn(self, base: str, namespace: str, name: str, duration: float) -> None:
        """Add one start. Another process that writes at the same time loses nothing by it."""
        if not (math.isfinite(duration) and 0 <= duration <= _LONGEST):
            return
        with contextlib.suppress(OSError):
            folder = make_private(self._file.parent)
            lock = FileLock(folder / f"{self._file.name}.lock")
            if not _take(lock):
                return
            try:
                known = self._read()
                key = _key(base, namespace, name)
                durations = [*known.pop(key, []), round(duration, 3)][-KEPT:]
                known[key] = durations  # the last in the file is the last that was started
                self._write(dict(list(known.items())[-_MOST_ENDPOINTS:]))
            finally:
                lock.release()

    def _read(self) -> dict[str, list[float]]:
        try:
            with self._file.open("rb") as file:
                data: Any = json.loads(file.read(_MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(data, dict):
            return {}
        return {key: _sound(value) for key, value in data.items()}

    def _write(self, known: dict[str, list[float]]) -> None:
        """Put a whole file in the place of the old one, so that nobody ever reads half of it."""
        handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=".starts-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(known, file)
            Path(name).replace(self._file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _key(base: str, namespace: str, name: str) -> str:
    return f"{base} {namespace}/{name}"


def _sound(value: object) -> list[float]:
    if not isinstance(value, list):
        return []
    numbers = [float(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool)]
    return [number for number in numbers if math.isfinite(number) and 0 <= number <= _LONGEST][-KEPT:]


def _take(lock: FileLock) -> bool:
    """Wait a moment for another process that writes: it takes milliseconds."""
    deadline = time.monotonic() + _PATIENCE
    while not lock.try_take():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
