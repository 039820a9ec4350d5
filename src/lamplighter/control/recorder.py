"""Puts on record what people and programs ask for, however it goes, and where it came from."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.journal import Journal, log_fields
from lamplighter.control.origin import ORIGIN
from lamplighter.store import AuditRecord

log = structlog.get_logger("lamplighter.control")

_LONGEST_NAME = 200


@dataclass(slots=True)
class Note:
    """What is added to the record of an operation while it goes on."""

    change: str | None = None


class Recorder:
    """Writes to the journal and to the log."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    async def write(
        self,
        operation: str,
        name: str | None,
        actor: str,
        *,
        error: BaseException | None = None,
        change: str | None = None,
    ) -> None:
        """Record one operation on the endpoint `name` (None: on the server); with `error`, that it was not to be."""
        origin = ORIGIN.get()
        record = AuditRecord(
            at=self._clock.wall(),
            actor=actor,
            operation=operation,
            endpoint=None if name is None else name[:_LONGEST_NAME],
            success=error is None,
            error=None if error is None else str(error) or type(error).__name__,
            change=change,
            source=origin.source,
            request_id=origin.request_id,
        )
        log.info("operation", **log_fields(record))
        await self._journal.operation(record)

    @contextlib.asynccontextmanager
    async def recorded(
        self, operation: str, name: str | None, actor: str, *, change: str | None = None
    ) -> AsyncIterator[Note]:
        """Record what is done inside when it ends, however it does. `change` is what is known of it before."""
        note = Note(change)
        error: BaseException | None = None
        try:
            yield note
        except BaseException as caught:
            error = caught
            raise
        finally:
            await self.write(operation, name, actor, error=error, change=note.change)
