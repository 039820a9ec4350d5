"""`/logs`: what an endpoint's engine says, as text, as JSON, and as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from lamplighter.api.hf import moments
from lamplighter.api.hf.context import Caller, Served, ServedWire
from lamplighter.api.hf.endpoints import answer
from lamplighter.api.hf.loglines import LEVELS, Line, Reader, Sieve, level_of
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.api.media import EVENTS, TEXT, answers
from lamplighter.errors import InvalidInput, LamplighterError

BEAT = 15.0
"""How often a stream of events says that it is there, when there is nothing to say (seconds)."""

_MOST_LINES = 10_000
_DEFAULT_TAIL = 1000
_LONGEST_LINE = 65_536
_AT_ONCE = 200  # lines, some milliseconds of work; then others have their turn

router = APIRouter(tags=["logs"], responses=RESPONSES)

LINES = answers(TEXT)
"""What `text_logs` answers, under whatever path."""

_TEXT = "/v2/endpoint/{namespace}/{name}/logs"
_STRUCTURED = "/v3/endpoint/{namespace}/{name}/logs"
_STREAM_HEADERS = {"Cache-Control": "no-store"}

Replica: TypeAlias = Annotated[str | None, Query(description="Of this replica alone.")]
Tail: TypeAlias = Annotated[int, Query(ge=0, le=_MOST_LINES, description="How many of the last lines.")]
Longest: TypeAlias = Annotated[
    int | None, Query(alias="line_max_length", ge=1, le=_LONGEST_LINE, description="Characters kept of a line.")
]
Level: TypeAlias = Annotated[str | None, Query(description="This level and those above it; guessed by words.")]
Words: TypeAlias = Annotated[str | None, Query(alias="search", description="Lines that hold this text.")]


@router.get(_TEXT, response_class=Response, responses=LINES)
async def text_logs(
    name: str,
    served: Served,
    _: Caller,
    *,
    replica: Replica = None,
    follow: Annotated[bool, Query(description="Go on with each further line as it comes.")] = False,
    tail: Tail = _DEFAULT_TAIL,
    longest: Longest = None,
) -> StreamingResponse:
    """Read the output of the endpoint's engine as rows `- <timestamp> <line>`. Wakes nothing."""
    lines = _lines(served, name, Sieve(replica=replica), tail=tail, follow=follow)
    return StreamingResponse(_rows(lines, longest), media_type=TEXT, headers=_STREAM_HEADERS)


@router.get(_TEXT + "/sse", response_class=Response, responses=answers(EVENTS))
async def text_log_events(
    name: str, served: Served, _: Caller, *, replica: Replica = None, tail: Tail = 100, longest: Longest = None
) -> StreamingResponse:
    """Follow the output of the endpoint's engine, a row an event."""
    lines = _lines(served, name, Sieve(replica=replica), tail=tail, follow=True)
    return _events(line.row(longest) if isinstance(line, Line) else line async for line in lines)


@router.get(_STRUCTURED)
async def structured_logs(
    name: str,
    served: Served,
    _: Caller,
    *,
    replica: Replica = None,
    level: Level = None,
    search: Words = None,
    since: Annotated[str | None, Query(description="Lines of this moment and later, RFC 3339.")] = None,
    until: Annotated[str | None, Query(description="Lines before this moment, RFC 3339.")] = None,
    tail: Annotated[int | None, Query(ge=0, le=5000, description="How many of the last lines.")] = None,
    limit: Annotated[int, Query(ge=1, le=5000, description="How many lines at most.")] = 1000,
    order: Annotated[Literal["asc", "desc"], Query(description="The oldest first, or the newest.")] = "asc",
) -> Response:
    """Search in the output of the endpoint's engine. Wakes nothing."""
    sieve = Sieve(
        level=_level(level),
        search=search or None,
        replica=replica,
        since=_moment(since, "since"),
        until=_moment(until, "until"),
    )
    wanted: deque[Line] = deque(maxlen=limit if tail is None else min(tail, limit))
    async for line in _lines(served, name, sieve, tail=_MOST_LINES, follow=False):
        if isinstance(line, Line):
            wanted.append(line)
    rows = [line.structured() for line in wanted]
    return answer(rows if order == "asc" else rows[::-1])


@router.get(_STRUCTURED + "/sse", response_class=Response, responses=answers(EVENTS))
async def structured_log_events(
    name: str,
    served: Served,
    _: Caller,
    *,
    replica: Replica = None,
    level: Level = None,
    search: Words = None,
    tail: Tail = 100,
) -> StreamingResponse:
    """Follow the output of the endpoint's engine, a JSON object an event."""
    sieve = Sieve(level=_level(level), search=search or None, replica=replica)
    lines = _lines(served, name, sieve, tail=tail, follow=True)
    return _events(json.dumps(line.structured()) if isinstance(line, Line) else line async for line in lines)


def _lines(served: ServedWire, name: str, sieve: Sieve, *, tail: int, follow: bool) -> AsyncIterator[Line | str]:
    """Lines that are wanted; a failure in the middle is told as the last one. Raises EndpointNotFound at once."""
    endpoint = served.operations.endpoint(name)
    began = endpoint.wake_time or served.started
    reader = Reader(endpoint.spec.name, replicas=endpoint.spec.replicas, began=began)
    return _sifted(served.operations.logs(name, tail=tail, follow=follow), reader, sieve)


async def _sifted(lines: AsyncIterator[str], reader: Reader, sieve: Sieve) -> AsyncIterator[Line | str]:
    try:
        count = 0
        async for raw in lines:
            line = reader.read(raw)
            if sieve.lets_through(line):
                yield line
            count += 1
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
    except LamplighterError as error:
        yield f"lamplighter: {error.message}"  # the status has been sent: this is the only place left
    finally:
        # The client may have gone in the middle: what reads the log must not wait for the garbage collector.
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


async def _rows(lines: AsyncIterator[Line | str], longest: int | None) -> AsyncIterator[str]:
    async with _closing(lines):
        async for line in lines:
            yield f"{line.row(longest) if isinstance(line, Line) else line}\n"


def _events(texts: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(_beating(texts), media_type=EVENTS, headers=_STREAM_HEADERS)


async def _beating(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """One event a text, and a comment when nothing has come for a while, so that a dead connection is noticed."""
    coming: asyncio.Task[str] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(texts))
            done, _ = await asyncio.wait([coming], timeout=BEAT)
            if not done:
                yield ": still here\n\n"
                continue
            try:
                text = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield f"data: {text}\n\n"
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if isinstance(texts, AsyncGenerator):
            await texts.aclose()


@contextlib.asynccontextmanager
async def _closing(lines: AsyncIterator[Line | str]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


def _level(word: str | None) -> str | None:
    if not word:
        return None
    level = level_of(word)
    if level is None:
        raise InvalidInput(f"level: {word[:40]!r} should be one of {', '.join(LEVELS)}.", field="level")
    return level


def _moment(text: str | None, field: str) -> float | None:
    if not text:
        return None
    try:
        return moments.read(text)
    except ValueError:
        raise InvalidInput(
            f"{field}: {text[:40]!r} should be a moment such as 2026-10-01T12:00:00Z.", field=field
        ) from None
