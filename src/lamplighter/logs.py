"""How the server logs: to standard error, one line an event, and never in the way of its work."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import structlog

MOST_A_MINUTE = 60
"""Warnings and errors of one kind that are logged in a minute: clients can cause some of them, as fast as they like."""

_MINUTE = 60.0
_MOST_KINDS = 1000
_LONGEST_KIND = 200  # characters
_LEFT_OUT = "lines left out"
_BOUNDED = frozenset({"warning", "error", "critical"})


class StderrLines:
    """A logger for structlog that never raises.

    Standard error may be a file on a full disk or a pipe that nobody reads any more. A server that stops putting
    endpoints to sleep because it can't tell of it would cost more than the line: it is dropped, and counted.
    """

    dropped = 0

    def msg(self, message: str) -> None:
        try:
            sys.stderr.write(f"{message}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            StderrLines.dropped += 1

    debug = info = warning = error = critical = exception = fatal = log = msg


@dataclass(slots=True)
class _Minute:
    """What was logged of one kind since it began."""

    kind: str
    began: float
    lines: int = 0
    left_out: int = 0


class Flood:
    """Lets so many lines of one kind through in a minute, counts the others, and tells afterwards how many they were.

    Moments are of any clock that goes forward, in seconds. Any thread may ask.
    """

    def __init__(self, most: int = MOST_A_MINUTE) -> None:
        self._most = most
        self._minutes: dict[Hashable, _Minute] = {}
        self._flooded: dict[Hashable, _Minute] = {}
        self._lock = threading.Lock()

    def lets_through(self, key: Hashable, kind: str, now: float) -> bool:
        """Whether a line is to be written. `key` tells the kinds apart, `kind` names them for people."""
        with self._lock:
            minute = self._minutes.get(key)
            if minute is None or (now >= minute.began + _MINUTE and not minute.left_out):
                self._minutes.pop(key, None)
                self._make_room()
                minute = self._minutes[key] = _Minute(kind[:_LONGEST_KIND], now)
            if minute.lines < self._most:
                minute.lines += 1
                return True
            minute.left_out += 1
            self._flooded[key] = minute
            return False

    def over(self, now: float) -> list[tuple[str, int]]:
        """The kinds of which lines were left out in a minute that is over, and how many; each is told once."""
        if not self._flooded:
            return []
        with self._lock:
            ended = [key for key, minute in self._flooded.items() if now >= minute.began + _MINUTE]
            told = [self._flooded.pop(key) for key in ended]
            for key in ended:
                self._minutes.pop(key, None)
        return [(minute.kind, minute.left_out) for minute in told]

    def _make_room(self) -> None:
        """Forget the kind that was seen first, so that made-up ones take no memory."""
        if len(self._minutes) >= _MOST_KINDS:
            oldest = next(iter(self._minutes))
            del self._minutes[oldest]
            self._flooded.pop(oldest, None)


class _Bound:
    """Keeps a flood of warnings from filling the disk: of our own lines, and of those of libraries."""

    def __init__(self, flood: Flood, clock: Callable[[], float]) -> None:
        self._flood = flood
        self._clock = clock

    def __call__(self, _: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """For structlog: lines of one event and endpoint are of one kind."""
        what = str(event.get("event"))
        if what == _LEFT_OUT or method not in _BOUNDED:
            return event
        if not self._admit((what, event.get("endpoint")), what):
            raise structlog.DropEvent
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """For the standard library: lines from one place in the program are of one kind."""
        return self._admit((record.pathname, record.lineno), str(record.msg))

    def _admit(self, key: Hashable, kind: str) -> bool:
        now = self._clock()
        for ended, count in self._flood.over(now):
            structlog.get_logger("lamplighter.logs").warning(_LEFT_OUT, like=ended, count=count)
        return self._flood.lets_through(key, kind, now)


def configure_logging(
    fmt: str = "text", level: str = "info", *, flood: Flood | None = None, clock: Callable[[], float] = time.monotonic
) -> None:
    """Log `text` for people or `json` for programs, from `level` on; other libraries' logs from warnings on.

    `flood` bounds how many warnings and errors are logged, by `clock`.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    bound = _Bound(flood or Flood(), clock)
    renderer = _json() if fmt == "json" else _text()
    structlog.configure(
        processors=[bound, *shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_args: StderrLines(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_foreign(renderer), foreign_pre_chain=shared))
    handler.addFilter(bound.filter)
    logging.raiseExceptions = False
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("lamplighter").setLevel(number)


def _json() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _text() -> list[structlog.typing.Processor]:
    # The default traceback prints local variables, and request headers among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _foreign(renderer: list[structlog.typing.Processor]) -> list[structlog.typing.Processor]:
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer]
