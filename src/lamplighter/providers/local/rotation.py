"""Keeping the logs of what runs within their bounds."""

from __future__ import annotations

import asyncio

import structlog

from lamplighter.providers.local.logs import LogFile

log = structlog.get_logger("lamplighter.providers.local")

_CHECK_EVERY = 1.0


class LogRotator:
    """One task for all logs that are being written; there is none while nothing runs."""

    def __init__(self) -> None:
        self._logs: set[LogFile] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, logfile: LogFile) -> None:
        """Begin to keep this log bounded."""
        self._logs.add(logfile)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="rotate engine logs")

    def remove(self, logfile: LogFile) -> None:
        """Nothing writes this log any more."""
        self._logs.discard(logfile)
        if not self._logs:
            self.close()

    def close(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            for logfile in tuple(self._logs):
                try:
                    await asyncio.to_thread(logfile.rotate_if_full)
                except OSError as error:
                    log.warning("log not rotated", path=str(logfile.path), error=error.strerror)
