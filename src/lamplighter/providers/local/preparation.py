"""Running an engine's preparation (it may download a model for an hour) in a thread that can be left behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import structlog

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.engines.base import Engine
from lamplighter.errors import EngineError

log = structlog.get_logger("lamplighter.providers.local")

_MIN_SILENCE = 300.0
_NOTIFY_EVERY = 0.25
_LINE_LIMIT = 500


class Preparation:
    """One call of `Engine.prepare`, which several wakes may join.

    The thread is a daemon of its own: a thread can't be stopped, and one of the pool would keep the server from
    exiting until the download is through. `message` is the last progress line.
    """

    def __init__(self, engine: Engine, spec: EngineSpec, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.message: str | None = None
        self._engine = engine
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[str | None] = self._loop.create_future()
        self._done.add_done_callback(_take_note)
        self._heard_at = self._loop.time()
        self._told_at = float("-inf")

    def start(self, name: str) -> None:
        """Begin, once."""
        threading.Thread(target=self._run, name=f"prepare {name}", daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self._done.done()

    async def result(self) -> str | None:
        """Wait for the model. Being cancelled does not end the preparation.

        Raises EngineError, also when no progress was heard of for as long as the start may take (at least 5 minutes).
        """
        silence = max(self.spec.start_timeout, _MIN_SILENCE)
        while not self.over:
            left = self._heard_at + silence - self._loop.time()
            if left <= 0:
                raise EngineError(f"preparing the model made no progress for {silence:g} s")
            await asyncio.wait({self._done}, timeout=left)
        return self._done.result()

    def _run(self) -> None:
        try:
            model = self._engine.prepare(self.spec, self._progress)
        except Exception as error:  # noqa: BLE001 (a thread's boundary: handed over to whoever waits)
            self._hand_over(self._fail, error)
        else:
            self._hand_over(self._finish, model)

    def _progress(self, line: str) -> None:
        self._hand_over(self._hear, line)

    def _hand_over(self, function: Callable[[Any], None], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has gone, and nobody waits any more
            self._loop.call_soon_threadsafe(function, value)

    def _finish(self, model: str | None) -> None:
        self._done.set_result(model)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, EngineError):
            self._done.set_exception(error)
            return
        wrapped = EngineError(f"preparing the model failed: {error}")
        wrapped.__cause__ = error
        self._done.set_exception(wrapped)

    def _hear(self, line: str) -> None:
        self.message = line[:_LINE_LIMIT]
        self._heard_at = self._loop.time()
        if self._heard_at - self._told_at >= _NOTIFY_EVERY:
            self._told_at = self._heard_at
            self._changed()


def _take_note(done: asyncio.Future[str | None]) -> None:
    """Write down a failure even if nobody waits for it any more."""
    error = None if done.cancelled() else done.exception()
    if error is not None:
        log.warning("preparation failed", error=str(error))
