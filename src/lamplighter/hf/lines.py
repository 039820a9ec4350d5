"""Lines out of a log that comes in pieces: plain, or as server-sent events; and where a broken log goes on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def from_event(line: str) -> str | None:
    """The log line in a line of server-sent events; None where it holds none: a comment, a name, the end of an event.

    A structured one becomes a row of text, as in the plain log: `- <timestamp> <line>`. An event of several lines of
    data holds as many lines of the log.
    """
    if not line.startswith("data:"):
        return None
    data = line[5:].removeprefix(" ")
    if not data.startswith("{"):
        return data
    import json  # noqa: PLC0415

    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(value, dict) or not isinstance(value.get("line"), str):
        return data
    at = value.get("timestamp")
    return f"- {at} {value['line']}" if isinstance(at, str) else str(value["line"])


def missed(seen: Sequence[str], lines: Sequence[str]) -> list[str]:
    """What of a log's last lines came after what was seen; nothing where neither of them shows where the other goes on.

    The longest common piece counts, and of several the last: rather a repeated line is lost than shown twice.
    """
    longest, end = 0, len(lines)
    for after in range(len(lines), 0, -1):
        length = _common(seen, lines, after)
        if length > longest:
            longest, end = length, after
    return list(lines[end:])


def _common(seen: Sequence[str], lines: Sequence[str], after: int) -> int:
    """How many lines before `after` are the last ones of what was seen."""
    most = min(len(seen), after)
    return next((n for n in range(most) if seen[-1 - n] != lines[after - 1 - n]), most)


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
