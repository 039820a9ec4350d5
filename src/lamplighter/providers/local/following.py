"""Reading the logs of an endpoint's replicas as one stream of lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from lamplighter.providers.local.logs import LINE_LIMIT, LogFile, Position, line_texts

_LOOK_EVERY = 0.2
_TAIL_LINES = 10_000


class LogReader:
    """Reads on in one log, line by line."""

    def __init__(self, logfile: LogFile, prefix: str) -> None:
        self._log = logfile
        self._prefix = prefix
        self._rest = b""
        self._position = Position()

    async def tail(self, count: int) -> list[str]:
        """The last lines; afterwards `fresh` goes on behind them."""
        tail = await asyncio.to_thread(self._log.tail, count)
        self._rest, self._position = tail.rest, tail.end
        return [self._prefix + line for line in tail.lines]

    async def fresh(self) -> list[str]:
        """Whole lines written since; empty when there is nothing more for now."""
        texts: list[str] = []
        while not texts:
            before = self._position.generation
            chunk, self._position = await asyncio.to_thread(self._log.read, self._position)
            if self._position.generation > before and self._rest:
                chunk = b"\n" + chunk  # a rotation may have lost the rest of this line: don't glue another to it
            if not chunk:
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if len(self._rest) > LINE_LIMIT:
                lines, self._rest = [*lines, self._rest], b""
            texts = [piece for line in lines for piece in line_texts(line)]
        return [self._prefix + text for text in texts]

    async def snapshot(self, count: int) -> list[str]:
        """The last lines, with the one that the engine has not ended yet."""
        lines = await self.tail(count)
        lines += [self._prefix + text for text in line_texts(self._rest)] if self._rest else []
        return lines[-count:] if count else []


async def read_logs(
    logs: Sequence[LogFile], *, tail: int, follow: bool, over: Callable[[], bool]
) -> AsyncIterator[str]:
    """Yield lines of all logs. With several each line says whose it is, and each log gets its share of `tail`.

    `over` ends the following: the endpoint was deleted, or the provider closed.
    """
    several = len(logs) > 1
    readers = [LogReader(logfile, f"[{slot}] " if several else "") for slot, logfile in enumerate(logs)]
    share = -(-min(max(tail, 0), _TAIL_LINES) // max(1, len(readers)))
    for reader in readers:
        for line in await (reader.tail(share) if follow else reader.snapshot(share)):
            yield line
    while follow and not over():
        quiet = True
        for reader in readers:
            for line in await reader.fresh():
                quiet = False
                yield line
        if quiet:
            await asyncio.sleep(_LOOK_EVERY)
