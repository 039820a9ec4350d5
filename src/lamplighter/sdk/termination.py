"""SIGTERM while the main thread is in a session: an exception, so that the session ends as it should."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import ClassVar

Handler = Callable[[int, FrameType | None], object] | int | None

EXIT_CODE = 128 + signal.SIGTERM


class Termination:
    """Shared by all sessions of the main thread: the first one in takes the signal, the last one out gives it back.

    Outside of the main thread, and where SIGTERM is ignored, nothing is done.
    """

    _watchers: ClassVar[int] = 0
    _deferring: ClassVar[int] = 0
    _told: ClassVar[bool] = False
    _before: ClassVar[Handler] = None

    def __init__(self) -> None:
        self._watching = False

    def watch(self) -> None:
        """Turn SIGTERM into SystemExit(143) until `unwatch`."""
        if threading.current_thread() is not threading.main_thread():
            return
        if Termination._watchers == 0:
            before = signal.getsignal(signal.SIGTERM)
            if before is signal.SIG_IGN:
                return
            Termination._told = False
            if before is not Termination._on_sigterm:  # else it was left there by a thread that could not take it away
                Termination._before = before
                signal.signal(signal.SIGTERM, Termination._on_sigterm)
        Termination._watchers += 1
        self._watching = True

    def unwatch(self) -> None:
        """Put the earlier handler back when this is the last session; if there was a signal, it is told of it now."""
        if not self._watching:
            return
        self._watching = False
        Termination._watchers -= 1
        if Termination._watchers:
            return
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread can put a handler back; the next session there does
        before, told = Termination._before, Termination._told
        Termination._before = None
        if signal.getsignal(signal.SIGTERM) is Termination._on_sigterm:  # else somebody else took it meanwhile
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        if told and callable(before):
            before(signal.SIGTERM, None)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Finish this first: a signal that comes meanwhile counts at its end."""
        if not self._watching:
            yield
            return
        told = Termination._told
        Termination._deferring += 1
        try:
            yield
        finally:
            Termination._deferring -= 1
        if Termination._told and not told and not Termination._deferring:
            raise SystemExit(EXIT_CODE)

    @staticmethod
    def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
        Termination._told = True
        if not Termination._deferring:
            raise SystemExit(EXIT_CODE)
