"""The head of a GGUF file: what is recognised as broken, and how it is said."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lamplighter.engines.gguf import BadGguf, read_header


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


PAIRS = (
    text("general.architecture") + struct.pack("<I", 8) + text("llama"),
    text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + text("a") + text("bb") + text(""),
    text("tokenizer.ggml.scores") + struct.pack("<IIQ3f", 9, 6, 3, 1.0, 2.0, 3.0),
    text("bert.pooling_type") + struct.pack("<II", 4, 2),
    text("nested") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ2B", 0, 2, 7, 7),
)
TENSORS = (
    text("first") + struct.pack("<IQQIQ", 2, 4, 4, 0, 0),
    text("second") + struct.pack("<IQIQ", 1, 4, 0, 64),
)
HEAD = b"GGUF" + struct.pack("<IQQ", 3, len(TENSORS), len(PAIRS)) + b"".join(PAIRS) + b"".join(TENSORS)
WHOLE = HEAD + bytes(128)


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return path


def test_a_whole_file_is_read_with_every_kind_of_value(tmp_path):
    header = read_header(write(tmp_path, WHOLE))
    assert header.version == 3
    assert "bert.pooling_type" in header.keys
    assert len(header.keys) == len(PAIRS)
    assert header.least_bytes == len(HEAD) + 64


@pytest.mark.parametrize("length", [0, 3, 7, 8, 20, 24, 60, len(HEAD) // 2, len(HEAD) - 1, len(HEAD), len(HEAD) + 64])
def test_a_file_cut_anywhere_before_its_last_tensor_is_called_cut(tmp_path, length):
    with pytest.raises(BadGguf, match=f"cut short: it ends after {length} bytes"):
        read_header(write(tmp_path, WHOLE[:length]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE html><html></html>", "is not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(60), "GGUF version 1 .*versions 2 and 3 can be used"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(60), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 99), "unknown type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63) + bytes(9), "cut short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**62, 0) + bytes(9), "cut short"),
    ],
    ids=["a page", "old version", "big-endian", "unknown type", "endless key", "endless tensors"],
)
def test_what_is_wrong_is_said(tmp_path, data, said):
    with pytest.raises(BadGguf, match=said):
        read_header(write(tmp_path, data))
