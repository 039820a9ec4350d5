"""The log file of one replica: bounded, readable while it is written, and kept across servers.

The engine writes straight into the file, not into a pipe of ours: a pipe breaks when the server is killed, and takes
the engine with it. So we can't switch files under it either. The file is opened for appending and rotated by copying
it to `….1` and then truncating it: the engine's next write lands at the new end. What it writes between the copy's last
read and the truncation is lost, some microseconds per 10 MB.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger("lamplighter.providers.local")

LINE_LIMIT = 8_192
"""Bytes. A longer line is given out in pieces."""

_BLOCK = 65_536
_TAIL_LIMIT = 4_194_304
_COPY_LIMIT = 4  # times `max_bytes`: a file that outgrew it between two checks is cut, not copied whole


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream of all output: `generation` counts rotations, `offset` bytes since the last one."""

    generation: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Tail:
    """The last lines; `rest` is what was written of a line that is not finished; `end` is where to read on."""

    lines: list[str]
    rest: bytes
    end: Position


class LogFile:
    """`max_bytes` bounds one file (checked once a second), `files` how many there are, the current one included.

    All methods but `open_for_engine` read or write files, and may be called from any thread.
    """

    def __init__(self, path: Path, *, max_bytes: int, files: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._files = files
        self._generation = 0
        self._lock = threading.Lock()

    def open_for_engine(self) -> int:
        """A file descriptor for the engine's output. Without a log (the disk is full) it still starts, unlogged."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            log.warning("log file not writable: the engine runs unlogged", path=str(self.path), error=error.strerror)
            return os.open(os.devnull, os.O_WRONLY)

    def end(self) -> Position:
        """Where the next byte will be."""
        with self._lock:
            return Position(self._generation, _size(self.path))

    def read(self, start: Position) -> tuple[bytes, Position]:
        """What follows `start`, at most 64 KiB, and where to go on; also across rotations. Empty: nothing new."""
        with self._lock:
            generation = max(start.generation, self._generation - self._files + 1)
            offset = start.offset if generation == start.generation else 0
            while True:
                chunk = _read(self._file_of(generation), offset, _BLOCK)
                if chunk or generation >= self._generation:
                    return chunk, Position(generation, offset + len(chunk))
                generation, offset = generation + 1, 0

    def tail(self, count: int, since: Position | None = None) -> Tail:
        """The last `count` lines that were written after `since`, from at most 4 MiB; reads no more than it needs."""
        with self._lock:
            end = Position(self._generation, _size(self.path))
            data = bytearray()
            for block in self._blocks_backwards(end, since):
                data[:0] = block
                if data.count(b"\n") > count or len(data) >= _TAIL_LIMIT:
                    break
        *lines, rest = bytes(data).split(b"\n")
        texts = [piece for line in lines[max(0, len(lines) - count) :] for piece in line_texts(line)]
        return Tail(texts[-count:] if count > 0 else [], rest[-LINE_LIMIT:], end)

    def rotate_if_full(self) -> None:
        """Keep the bound. A full disk costs the old output, never the bound. Raises OSError if even cutting fails."""
        with self._lock:
            if _size(self.path) <= self._max_bytes:
                return
            try:
                self._shift()
                self._copy_away()
            except OSError as error:
                log.warning("old log output dropped", path=str(self.path), error=error.strerror)
            with contextlib.suppress(FileNotFoundError):
                os.truncate(self.path, 0)
            self._generation += 1

    def _shift(self) -> None:
        for age in range(self._files - 1, 0, -1):
            source, target = self._aged(age - 1), self._aged(age)
            target.unlink(missing_ok=True)
            if age > 1 and source.exists():
                source.replace(target)

    def _copy_away(self) -> None:
        if self._files < 2:
            return
        target, left = self._aged(1), _COPY_LIMIT * self._max_bytes
        try:
            with self.path.open("rb") as source, target.open("xb") as copy:
                while left > 0 and (chunk := source.read(min(_BLOCK, left))):
                    copy.write(chunk)
                    left -= len(chunk)
        except OSError:
            target.unlink(missing_ok=True)
            raise

    def _aged(self, age: int) -> Path:
        return self.path if age == 0 else self.path.with_name(f"{self.path.name}.{age}")

    def _file_of(self, generation: int) -> Path:
        return self._aged(self._generation - generation)

    def _blocks_backwards(self, end: Position, since: Position | None) -> Iterator[bytes]:
        """Blocks from the newest to the oldest. Files of an earlier server have a negative generation."""
        oldest = end.generation - self._files + 1
        lowest = max(oldest, since.generation) if since else oldest
        for generation in range(end.generation, lowest - 1, -1):
            path = self._file_of(generation)
            floor = since.offset if since and generation == since.generation else 0
            upper = _size(path)
            while upper > floor:
                lower = max(floor, upper - _BLOCK)
                yield _read(path, lower, upper - lower)
                upper = lower


def line_texts(line: bytes) -> Iterator[str]:
    """A line as text, in pieces of bounded length; of a progress bar that redraws itself, only the last drawing."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    for start in range(0, max(1, len(shown)), LINE_LIMIT):
        yield shown[start : start + LINE_LIMIT].decode("utf-8", "replace")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset)
    except FileNotFoundError:
        return b""
