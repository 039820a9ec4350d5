"""Lines out of a log that comes in pieces: plain, or as server-sent events; and where a broken log goes on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

MOST_OF_A_LINE = 64 * 1024
"""Bytes; what is longer is cut there."""


class Lines:
    """Puts lines together from pieces of bytes. A line that is too long is cut, and its rest left out."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = False

    def feed(self, piece: bytes) -> Iterator[str]:
        """The lines that this piece completes."""
        *whole, rest = piece.split(b"\n")
        for part in whole:
            if (line := self._take(part)) is not None:
                yield line
        self._hold(rest)

    def end(self) -> Iterator[str]:
        """What is left when nothing more comes."""
        if self._held and not self._skipping:
            yield self._text(bytes(self._held))
        self._held.clear()

    def _take(self, part: bytes) -> str | None:
        self._hold(part)
        line = bytes(self._held)
        self._held.clear()
        self._skipping = False
        return self._text(line)

    def _hold(self, part: bytes) -> None:
        if self._skipping:
            return
        self._held += part[: MOST_OF_A_LINE + 1 - len(self._held)]
        if len(self._held) > MOST_OF_A_LINE:
            del self._held[MOST_OF_A_LINE:]
            self._skipping = True

    def _text(self, line: bytes) -> str:
        return line.removesuffix(b"\r").decode("utf-8", "replace")


class Events:
    """Takes the log lines out of server-sent events, line by line. Comments, names and ids of events are left out."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def feed(self, line: str) -> Iterator[str]:
        """The log lines that this line of the event stream completes."""
        if line.startswith("data:"):
            if len(self._data) < MOST_OF_A_LINE:
                self._data.append(line[5:].removeprefix(" "))
        elif not line:
            yield from self.end()

    def end(self) -> Iterator[str]:
        """The log lines of an event whose end did not come."""
        data, self._data = self._data, []
        for item in data:
            yield from _from_event(item)


def _from_event(data: str) -> Iterator[str]:
    """A structured line becomes a row of text, as in the plain log: `- <timestamp> <line>`."""
    if not data.startswith("{"):
        yield data
        return
    import json  # noqa: PLC0415

    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("line"), str):
        yield data
        return
    at = value.get("timestamp")
    yield f"- {at} {value['line']}" if isinstance(at, str) else value["line"]


class Overlap:
    """Leaves out what a log repeats when it is opened anew, told from the last lines that were seen.

    The log begins with its last lines, of which some are known already. As long as what comes reads like a piece of
    what was seen, it is held back; when that piece reaches the end of it, all that follows is new. If it turns out to
    be another piece, it was new as well, and is given out.
    """

    def __init__(self, seen: Iterable[str]) -> None:
        self._seen = list(seen)
        self._starts = list(range(len(self._seen)))
        self._held: list[str] = []
        self._known = 0  # so many of the held ones are known, if they are not the piece that they look like
        self._done = not self._seen

    def feed(self, line: str) -> list[str]:
        """What of this line, and of those that were held back, is new."""
        if self._done:
            return [line]
        at = len(self._held)
        self._held.append(line)
        alike = [start for start in self._starts if self._seen[start + at] == line]
        self._starts = [start for start in alike if start + at + 1 < len(self._seen)]
        if len(alike) > len(self._starts):  # one of them has reached the end of what was seen
            self._known = at + 1
        self._done = not self._starts
        return self._held[self._known :] if self._done else []
