"""Reading an endpoint's log: once, or as it goes on, over breaks of the connection."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from lamplighter.errors import EndpointNotFound, ProviderError, RateLimited
from lamplighter.hf.answers import error_for
from lamplighter.hf.calls import Calls
from lamplighter.hf.exchange import Asked, Question
from lamplighter.hf.lines import Lines, Overlap, from_event, missed
from lamplighter.hf.pace import ONCE, Pace
from lamplighter.hf.wire import Stream

_SEEN = 500
_SILENCE = 300.0
_FAILURES = 12
_PACE = Pace(attempts=1_000_000_000, base=0.5, cap=30.0, deadline=float("inf"))
_NO_SUCH_ROUTE = frozenset({404, 405, 406, 501})
_TEXT = {"Accept": "text/plain, */*;q=0.5"}
_EVENTS = {"Accept": "text/event-stream"}


class LogReader:
    """Reads the log of one endpoint. `url` is where it is plain; `/sse` behind that it comes as events."""

    def __init__(self, calls: Calls, url: str, asked: Asked, *, tail: int, replica: str | None) -> None:
        self._calls = calls
        self._wire = calls.wire
        self._url = url
        self._asked = asked
        self._tail = tail
        self._replica = {} if replica is None else {"replica": replica}
        self._seen: deque[str] = deque(maxlen=_SEEN)
        self._as_events = True
        self._connected = False

    async def read(self) -> AsyncGenerator[str]:
        """The last lines. Raises as `Wire.ask`, and what an unsuccessful answer means."""
        answer = await self._calls.answer(self._question("", _TEXT, {}, self._tail), self._asked)
        lines = Lines()
        for line in [*lines.feed(answer.body), *lines.end()]:
            yield line

    async def follow(self) -> AsyncGenerator[str]:
        """Lines as they come, until the endpoint is gone. Raises when it can't be reached many times in a row."""
        failures, pauses, ever = 0, 0, False
        while True:
            self._connected, told = False, None
            try:
                async with aclosing(self._open()) as lines:
                    async for line in lines:
                        pauses = 0
                        yield line
            except EndpointNotFound:
                if ever:
                    return
                raise
            except ProviderError as error:  # the connection was lost, or the provider has trouble
                failures = 0 if self._connected else failures + 1
                if error.permanent or failures > _FAILURES:
                    raise
                told = error.retry_after if isinstance(error, RateLimited) else None
            ever = ever or self._connected
            pauses += 1
            await self._wire.sleep(_PACE.pause(pauses, spent=0.0, chance=self._wire.chance(), told=told) or 0.0)

    async def _open(self) -> AsyncGenerator[str]:
        """One connection's lines, without those that were seen before, and before them what came in between."""
        if self._seen:
            for line in await self._missed():
                self._seen.append(line)
                yield line
        overlap = Overlap(self._seen)
        async with aclosing(self._connect(len(self._seen) or self._tail)) as lines:
            async for line in lines:
                for new in overlap.feed(line):
                    self._seen.append(new)
                    yield new

    async def _missed(self) -> list[str]:
        """What was written while there was no connection. A stream alone would show no more lines than were seen."""
        answer = await self._calls.answer(self._question("", _TEXT, {}, _SEEN), self._asked, pace=ONCE)
        lines = Lines()
        return missed(list(self._seen), [*lines.feed(answer.body), *lines.end()])

    async def _connect(self, tail: int) -> AsyncGenerator[str]:
        if self._as_events:
            question = self._question("/sse", _EVENTS, {}, tail)
            async with self._wire.stream(question, timeout=self._wire.timeout, silence=_SILENCE) as stream:
                if stream.status not in _NO_SUCH_ROUTE:
                    async for line in self._lines(stream, events=True):
                        yield line
                    return
            self._as_events = False
        question = self._question("", _TEXT, {"follow": "true"}, tail)
        async with self._wire.stream(question, timeout=self._wire.timeout, silence=_SILENCE) as stream:
            async for line in self._lines(stream, events=False):
                yield line

    def _question(self, route: str, headers: Mapping[str, str], more: Mapping[str, str], tail: int) -> Question:
        params = {"tail": str(tail), **self._replica, **more}
        return Question(method="GET", url=self._url + route, params=params, headers=headers)

    async def _lines(self, stream: Stream, *, events: bool) -> AsyncIterator[str]:
        if not stream.is_success:
            raise error_for(await stream.read(), await self._calls.informed(self._asked, self._url))
        self._connected = True
        lines = Lines()
        async for piece in stream.pieces():
            for line in lines.feed(piece):
                if (found := from_event(line) if events else line) is not None:
                    yield found
        for line in lines.end():
            if (found := from_event(line) if events else line) is not None:
                yield found
