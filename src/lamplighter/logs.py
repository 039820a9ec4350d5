"""How the server logs: to standard error, one line an event, and never in the way of its work."""

from __future__ import annotations

import logging
import sys

import structlog


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


def configure_logging(fmt: str = "text", level: str = "info") -> None:
    """Log `text` for people or `json` for programs, from `level` on; other libraries' logs from warnings on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = _json() if fmt == "json" else _text()
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_args: StderrLines(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_foreign(renderer), foreign_pre_chain=shared))
    logging.raiseExceptions = False
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _json() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _text() -> list[structlog.typing.Processor]:
    # The default traceback prints local variables, and request headers among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _foreign(renderer: list[structlog.typing.Processor]) -> list[structlog.typing.Processor]:
    return [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer]
