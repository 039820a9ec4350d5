"""Tokens, as the answers themselves tell them in `usage`. Pure: bytes in, numbers and bytes out.

How the gateway uses it:

- A whole JSON answer at hand: `of_answer(body)`.
- A JSON answer that passes in pieces: `AnswerTokens`, fed with each of them, `count()` at the end.
- A stream (`text/event-stream`): `StreamTokens`. Chat and text completions tell their usage in a stream only when they
  are asked to, so `wants_usage(body)` asks in the client's place, and `StreamTokens(strip=True)` takes out again what
  came of it. Such an answer must go out without a Content-Length.
- An engine may refuse to be asked: `refuses_usage(status, body)` tells. Then the request goes out once more as it came
  in, nothing has been executed, and that target is better not asked again.

None of it reads compressed bodies; they pass as they are, and count nothing.

The shapes: OpenAI's chat completions, completions and embeddings (`prompt_tokens`, `completion_tokens`), its responses
(`input_tokens`, `output_tokens`; in a stream inside of `response`), Anthropic's messages (the same names; what was
written to and read from a cache is told beside them, and is part of the request, too; in a stream inside of `message`
first, then at the top), rerankers (`total_tokens` alone), llama.cpp's own `/completion` (`tokens_evaluated`,
`tokens_predicted`). Numbers that no answer can have used, such as negative ones, count nothing.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

ASKED_AT = frozenset({"/v1/chat/completions", "/v1/completions"})
"""The paths whose streams tell their usage only when they are asked to."""

LONGEST_EVENT = 64 * 1024
"""An event of a stream that is longer (bytes) passes unseen."""

KEPT_OF_ANSWER = 16 * 1024
"""Of a longer answer only its end is looked at (bytes): `usage` comes after what the answer holds."""

_MARK = b'"usage"'
_LLAMACPP = b'"tokens_predicted"'
_ENDS = (b"\n\n", b"\n\r\n")
_END = re.compile(rb"\n\r?\n")
_DATA = re.compile(rb"^data: ?(.*)$", re.MULTILINE)
_NULL = b',"usage":null'
_SPACED_NULL = re.compile(rb',\s*"usage"\s*:\s*null')  # begins with what is rare: all it tries in vain is linear
_DATA_LINE = b"\ndata:"
_NO = frozenset({"", "0", "false", "f", "no", "n", "off"})  # what lax readers of booleans take for false
_MEMBER = re.compile(rb'"usage"\s*:\s*(?=\{)')
_BRACE = re.compile(rb"[{}]")
_LONGEST_END = 3

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    total_tokens: _Count | None = None

    def counts(self) -> tuple[int, int]:
        if self.prompt_tokens is not None:
            return self.prompt_tokens, self.completion_tokens or 0
        if self.input_tokens is None and self.output_tokens is None:
            return (self.total_tokens or 0), self.completion_tokens or 0
        cached = (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        return (self.input_tokens or 0) + cached, self.output_tokens or 0


class _Answer(msgspec.Struct):
    usage: _Usage | None = None
    tokens_evaluated: _Count | None = None
    tokens_predicted: _Count | None = None

    def counts(self) -> tuple[int, int] | None:
        if self.usage is not None:
            return self.usage.counts()
        if self.tokens_predicted is None:
            return None
        return self.tokens_evaluated or 0, self.tokens_predicted


class _Event(_Answer):
    choices: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()

    @property
    def is_extra(self) -> bool:
        """Whether it is there for its usage alone."""
        return self.usage is not None and bytes(self.choices).translate(None, b" \t\r\n") == b"[]"


class _Asks(msgspec.Struct):
    stream: bool | int | float | str | None = False
    stream_options: msgspec.Raw = msgspec.Raw()


_usage = msgspec.json.Decoder(_Usage).decode
_answer = msgspec.json.Decoder(_Answer).decode
_event = msgspec.json.Decoder(_Event).decode
_asks = msgspec.json.Decoder(_Asks).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def of_answer(body: bytes) -> tuple[int, int] | None:
    """Tokens in and out of a whole JSON answer; None where it tells none.

    Takes about a microsecond for a short answer, and for a long one no longer than it takes to look through it.
    """
    if len(body) > KEPT_OF_ANSWER:
        return _near_the_end(body[-KEPT_OF_ANSWER:])
    if _MARK not in body and _LLAMACPP not in body:
        return None
    try:
        return _answer(body).counts()
    except _UNREADABLE:
        return None


class AnswerTokens:
    """The tokens of a JSON answer that passes in pieces: feed it with each of them. Holds at most twice its end."""

    __slots__ = ("_kept", "_long")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._long = False

    def feed(self, piece: bytes) -> bytes:
        """What goes to the client for this piece: it, as it is."""
        kept = self._kept
        kept += piece[-KEPT_OF_ANSWER:] if kept else piece
        if len(kept) > 2 * KEPT_OF_ANSWER:
            del kept[:-KEPT_OF_ANSWER]
            self._long = True
        return piece

    def count(self) -> tuple[int, int] | None:
        """As `of_answer`, of all that was fed."""
        kept = bytes(self._kept)
        return _near_the_end(kept) if self._long else of_answer(kept)


def wants_usage(body: bytes) -> bytes | None:
    """The request with `stream_options.include_usage` set, where it is for a stream and doesn't ask for its usage.

    None where nothing is to be asked for, or the body is none that could be understood. For POSTs to `ASKED_AT`.
    Engines read booleans laxly: `"stream": 1` or `"true"` are for a stream, too.
    All other values stay as they came, byte for byte.
    """
    if b'"stream"' not in body:
        return None
    try:
        asks = _asks(body)
        if not _is_yes(asks.stream):
            return None
        if not bytes(asks.stream_options):
            start = body.index(b"{") + 1
            return b'%b"stream_options":{"include_usage":true},%b' % (body[:start], body[start:])
        return _with_option(body, bytes(asks.stream_options))
    except _UNREADABLE:
        return None


def _is_yes(value: object) -> bool:
    return value.lower() not in _NO if isinstance(value, str) else bool(value)


def _with_option(body: bytes, given: bytes) -> bytes | None:
    """Raises DecodeError for options that are none."""
    options = {} if given == b"null" else _members(given)
    if _is_yes(msgspec.json.decode(options.get("include_usage", b"false"))):
        return None
    options["include_usage"] = msgspec.Raw(b"true")
    members = _members(body)
    members["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(members)


def refuses_usage(status: int, body: bytes) -> bool:
    """Whether an engine refused a request because of what `wants_usage` added: a 400 or 422 that names it."""
    return status in (400, 422) and (b"stream_options" in body or b"include_usage" in body)


class StreamTokens:
    """Looks at a stream of server-sent events on its way; `tokens_in` and `tokens_out` are right after its end.

    `events` is how many events with data have passed. Engines send about one for each token, and a few around them, so
    that it is the estimate of the tokens out where a stream told none.

    Without `strip` every piece goes on at once, as it is. With it, two things are taken out that are there only because
    `wants_usage` asked: the extra event with `usage` and empty `choices`, and the member `"usage": null` that some send
    in all other events then. (Engines that send this null unasked lose it as well: it is optional, and says nothing.)
    All else stays byte for byte the same.

    With `strip` an event that is cut between two pieces waits for its end: no reader can use half an event, so that
    delays nothing. Comments never wait, nor does an event longer than `LONGEST_EVENT`, which passes unseen. What waits
    for an end that never comes is handed out by `end`, which has to be called when the stream has ended.
    """

    __slots__ = ("_given", "_tail", "events", "strip", "tokens_in", "tokens_out")

    def __init__(self, strip: bool) -> None:
        self.strip = strip
        self.tokens_in = 0
        self.tokens_out = 0
        self.events = 0
        self._tail = bytearray()  # the beginning of an event whose end has not come
        self._given = 0  # how much of that went to the client

    def feed(self, piece: bytes) -> bytes:
        """What goes to the client for this piece of the stream; may be empty."""
        if self._tail or not piece.endswith(_ENDS) or _LLAMACPP in piece:
            return self._look(piece)
        marks = piece.count(_MARK)
        if marks and marks != piece.count(_NULL):
            return self._look(piece)
        self.events += piece.count(_DATA_LINE) + piece.startswith(b"data:")
        return piece.replace(_NULL, b"") if marks and self.strip else piece

    def end(self) -> bytes:
        """What is left to send at the end of the stream."""
        tail, given = self._take_tail()
        self.events += _events_in(tail)
        return self._seen(tail, given)

    def _look(self, piece: bytes) -> bytes:
        """Only the piece itself is searched for an end, so that what waits is not gone through again and again."""
        edge = bytes(self._tail[1 - _LONGEST_END :])  # an end may have begun in what is here already
        near = edge + piece
        end = max(near.rfind(mark) + len(mark) if mark in near else 0 for mark in _ENDS)
        if not end:
            return self._keep(piece)
        end += len(self._tail) - len(edge)
        tail, given = self._take_tail()
        data = tail + piece
        return self._events(data, end, given) + self._keep(data[end:])

    def _take_tail(self) -> tuple[bytes, int]:
        tail, given = bytes(self._tail), self._given
        self._tail.clear()
        self._given = 0
        return tail, given

    def _keep(self, piece: bytes) -> bytes:
        """Add to the event that has not ended; what goes on of it before its end."""
        tail = self._tail
        tail += piece
        if self._may_wait():
            return b""
        out = bytes(tail[self._given :])
        if len(tail) > LONGEST_EVENT:  # keep what may turn out to be part of its end
            self.events += _events_in(tail)
            del tail[:-_LONGEST_END]
        self._given = len(tail)
        return out

    def _may_wait(self) -> bool:
        tail = self._tail
        return self.strip and not self._given and len(tail) <= LONGEST_EVENT and not tail.startswith(b":")

    def _events(self, data: bytes, end: int, given: int) -> bytes:
        """What goes on of the whole events in `data[:end]`, of which the first `given` bytes have gone."""
        self.events += _events_in(data, end)
        if data.find(_MARK, 0, end) < 0 and data.find(_LLAMACPP, 0, end) < 0:
            return data[given:end]
        kept, start = [], 0
        for found in _END.finditer(data, 0, end):
            kept.append(self._seen(data[start : found.end()], given))
            start, given = found.end(), 0
        kept.append(data[start:end])  # empty lines beyond those that end an event
        return b"".join(kept)

    def _seen(self, event: bytes, given: int) -> bytes:
        """Count an event; what goes on of it."""
        if _MARK not in event and _LLAMACPP not in event:
            return event[given:]
        if self.strip and not given and _NULL in event:
            return event.replace(_NULL, b"")
        found = _DATA.search(event)
        try:
            told = _event(found[1]) if found else _Event()
            self._count(told)
        except _UNREADABLE:
            return event[given:]
        if not self.strip or given:
            return event[given:]
        return b"" if told.is_extra else _SPACED_NULL.sub(b"", event)

    def _count(self, told: _Event) -> None:
        """Numbers in streams add up on the way, so the greatest are the last."""
        counts = told.counts()
        for inner in (told.message, told.response):
            if counts is None and bytes(inner):
                counts = _answer(inner).counts()
        if counts is not None:
            self.tokens_in = max(self.tokens_in, counts[0])
            self.tokens_out = max(self.tokens_out, counts[1])


def _events_in(data: bytes | bytearray, end: int | None = None) -> int:
    """How many events with data begin in `data[:end]`. A line break within JSON's strings is escaped."""
    return data.count(_DATA_LINE, 0, end) + data.startswith(b"data:")


def _near_the_end(tail: bytes) -> tuple[int, int] | None:
    """The last `usage` in the end of an answer.

    Quotes inside of JSON's strings are escaped, so what looks like that member is one.
    """
    start = tail.rfind(_MARK)
    found = _MEMBER.match(tail, start) if start >= 0 else None
    if found is None:
        return None
    depth = 0
    for brace in _BRACE.finditer(tail, found.end()):
        depth += 1 if brace[0] == b"{" else -1
        if not depth:
            return _read_usage(tail[found.end() : brace.end()])
    return None


def _read_usage(text: bytes) -> tuple[int, int] | None:
    try:
        return _usage(text).counts()
    except _UNREADABLE:
        return None
