"""Reads the head of a GGUF file: enough to tell a model from a broken download before a process is started on it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FIXED_HEAD = 24
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING = 8
_ARRAY = 9

_read_u32 = struct.Struct("<I").unpack_from
_read_u64 = struct.Struct("<Q").unpack_from


class BadGguf(Exception):
    """The file is no GGUF model, or a part of one. The text reads on after the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the head says. `keys` are the names of the metadata; `least_bytes` is where the last tensor begins."""

    version: int
    keys: frozenset[str]
    least_bytes: int


def read_header(path: Path) -> Header:
    """Read the head of `path` (about 15 ms for a vocabulary of 49,000).

    Found: another format, a version that llama.cpp does not read, a file cut in the head or before the last tensor.
    Not found: a cut in the last tensor, and damage that keeps the length; llama.cpp and the digest are for those.

    Raises BadGguf, and OSError where the file can't be read.
    """
    with path.open("rb") as file:
        version = _version(file.read(8))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                header = _Walk(data).header(version)
            except (struct.error, IndexError, OverflowError):
                raise BadGguf(_cut(len(data))) from None
            if header.least_bytes >= len(data):
                raise BadGguf(_cut(len(data)))
            return header


def _version(head: bytes) -> int:
    if len(head) < 8:
        raise BadGguf(_cut(len(head)))
    if head[:4] != _MAGIC:
        raise BadGguf("is not a GGUF file")
    version = int(_read_u32(head, 4)[0])
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise BadGguf(f"has GGUF version {version} (or is big-endian); versions {known} can be used")
    return version


def _cut(length: int) -> str:
    return f"is cut short: it ends after {length} bytes, before its tensors do"


class _Walk:
    """A position that moves over the head. A step behind the end raises struct.error, IndexError or OverflowError."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = _FIXED_HEAD

    def header(self, version: int) -> Header:
        tensors = self._peek_u64(8)
        pairs = self._peek_u64(16)
        keys = frozenset(self._pair() for _ in range(pairs))
        last = max((self._tensor_offset() for _ in range(tensors)), default=0)
        return Header(version=version, keys=keys, least_bytes=self._at + last)

    def _peek_u64(self, at: int) -> int:
        return int(_read_u64(self._data, at)[0])

    def _u32(self) -> int:
        self._at += 4
        return int(_read_u32(self._data, self._at - 4)[0])

    def _u64(self) -> int:
        self._at += 8
        return self._peek_u64(self._at - 8)

    def _string(self) -> str:
        length = self._u64()
        self._at += length
        return self._data[self._at - length : self._at].decode(errors="replace")

    def _pair(self) -> str:
        key = self._string()
        self._skip_value(self._u32())
        return key

    def _skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self._skip_strings(1)
        elif kind == _ARRAY:
            self._skip_array(self._u32(), self._u64())
        else:
            self._at += self._scalar_bytes(kind)

    def _skip_array(self, kind: int, count: int) -> None:
        if kind in _SCALAR_BYTES:
            self._at += count * _SCALAR_BYTES[kind]
        elif kind == _STRING:
            self._skip_strings(count)
        else:
            for _ in range(count):
                self._skip_value(kind)

    def _skip_strings(self, count: int) -> None:
        # A vocabulary has some hundred thousand of these: locals, because attributes would triple the time.
        data, at = self._data, self._at
        for _ in range(count):
            at += 8 + _read_u64(data, at)[0]
        self._at = at

    def _scalar_bytes(self, kind: int) -> int:
        try:
            return _SCALAR_BYTES[kind]
        except KeyError:
            raise BadGguf(f"is damaged: it holds a value of the unknown type {kind}") from None

    def _tensor_offset(self) -> int:
        self._string()
        dimensions = self._u32()
        self._at += 8 * dimensions + 4
        return self._u64()
