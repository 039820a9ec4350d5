"""Logs of engines: bounded on disk, whole for the reader."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from lamplighter.domain.endpoint import State, Status
from lamplighter.errors import EndpointNotFound
from lamplighter.providers.local import rotation
from lamplighter.providers.local.following import LogReader
from lamplighter.providers.local.logs import LINE_LIMIT, LogFile
from lamplighter.providers.local.provider import LocalProvider
from tests.local_engines import get, local, spec


def log_file(folder: Path, *, max_bytes: int = 1000, files: int = 3) -> LogFile:
    return LogFile(folder / "logs" / "0.log", max_bytes=max_bytes, files=files)


def write(logfile: LogFile, text: str | bytes) -> None:
    """As an engine does: through a descriptor that was opened for appending."""
    descriptor = logfile.open_for_engine()
    os.write(descriptor, text.encode() if isinstance(text, str) else text)
    os.close(descriptor)


def following(provider: LocalProvider, name: str, **options: Any) -> aclosing[AsyncGenerator[str, None]]:
    return aclosing(cast("AsyncGenerator[str, None]", provider.logs(name, **options)))


def test_the_tail_is_the_last_lines(tmp_path: Path):
    logfile = log_file(tmp_path)
    write(logfile, "one\ntwo\nthree\nunfin")
    tail = logfile.tail(2)
    assert tail.lines == ["two", "three"]
    assert tail.rest == b"unfin"
    assert logfile.tail(0).lines == []
    assert logfile.tail(9).lines == ["one", "two", "three"]


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path):
    tail = log_file(tmp_path).tail(5)
    assert (tail.lines, tail.rest) == ([], b"")


def test_the_tail_reaches_into_rotated_files_of_earlier_servers_too(tmp_path: Path):
    logfile = log_file(tmp_path, max_bytes=10)
    for text in ("first\n", "second\n", "third\n"):
        write(logfile, text * 3)
        logfile.rotate_if_full()
    write(logfile, "last\n")
    again = log_file(tmp_path, max_bytes=10)
    assert again.tail(5).lines == ["second", "third", "third", "third", "last"]


def test_the_tail_of_a_big_log_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    logfile = log_file(tmp_path)
    write(logfile, "".join(f"line {number}\n" for number in range(200_000)))
    reads: list[int] = []
    real = os.pread

    def counting(descriptor: int, size: int, offset: int) -> bytes:
        reads.append(size)
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counting)
    assert logfile.tail(3).lines == ["line 199997", "line 199998", "line 199999"]
    assert sum(reads) <= 65_536


def test_only_what_was_written_since_a_position(tmp_path: Path):
    logfile = log_file(tmp_path, max_bytes=10)
    write(logfile, "before\n")
    since = logfile.end()
    write(logfile, "after\n")
    assert logfile.tail(9, since).lines == ["after"]
    logfile.rotate_if_full()
    write(logfile, "later\n")
    assert logfile.tail(9, since).lines == ["after", "later"]


def test_number_and_size_of_files_are_bounded(tmp_path: Path):
    logfile = log_file(tmp_path, max_bytes=100, files=3)
    for number in range(50):
        write(logfile, f"{number:04d} ".ljust(60, "x") + "\n")
        logfile.rotate_if_full()
    files = sorted(path.name for path in logfile.path.parent.iterdir())
    assert files == ["0.log", "0.log.1", "0.log.2"]
    assert all(path.stat().st_size <= 161 for path in logfile.path.parent.iterdir())


def test_with_a_single_file_old_output_is_dropped(tmp_path: Path):
    logfile = log_file(tmp_path, max_bytes=10, files=1)
    write(logfile, "more than ten bytes\n")
    logfile.rotate_if_full()
    assert [path.stat().st_size for path in logfile.path.parent.iterdir()] == [0]


def test_a_reader_loses_nothing_over_rotations(tmp_path: Path):
    logfile = log_file(tmp_path, max_bytes=10, files=3)
    position, got = logfile.end(), b""
    written = b""
    for number in range(20):
        for part in (b"a", b"b"):
            text = b"%d %b\n" % (number, part * 9)
            write(logfile, text)
            written += text
            logfile.rotate_if_full()
        while chunk := logfile.read(position):
            data, position = chunk
            got += data
            if not data:
                break
    assert got == written


def test_a_reader_that_is_too_slow_goes_on_with_the_oldest_that_is_kept(tmp_path: Path):
    logfile = log_file(tmp_path, max_bytes=3, files=2)
    position = logfile.end()
    for text in ("old\n", "mid\n", "new\n"):
        write(logfile, text)
        logfile.rotate_if_full()
    assert logfile.read(position)[0] == b"new\n"


def test_a_full_disk_costs_old_output_but_not_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    logfile = log_file(tmp_path, max_bytes=10)
    write(logfile, "more than ten bytes\n")

    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LogFile, "_copy_away", full)
    logfile.rotate_if_full()
    assert logfile.path.stat().st_size == 0


async def test_without_a_writable_log_folder_the_engine_still_runs(tmp_path: Path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    async with local(tmp_path) as it:
        await it.awake(spec())
        assert [line async for line in it.provider.logs("e")] == []


async def test_a_long_line_comes_in_pieces_and_broken_text_is_replaced(tmp_path: Path):
    logfile = log_file(tmp_path)
    reader = LogReader(logfile, "")
    await reader.tail(0)
    write(logfile, b"x" * (LINE_LIMIT + 5) + b"\n\xff\n10%\r20%\r\n")
    assert await reader.fresh() == ["x" * LINE_LIMIT, "x" * 5, "\N{REPLACEMENT CHARACTER}", "20%"]


async def test_a_line_that_never_ends_is_given_out(tmp_path: Path):
    logfile = log_file(tmp_path)
    reader = LogReader(logfile, "")
    await reader.tail(0)
    write(logfile, b"x" * (2 * LINE_LIMIT))
    assert "".join(await reader.fresh()) == "x" * (2 * LINE_LIMIT)


async def test_an_unfinished_line_is_followed_to_its_end(tmp_path: Path):
    logfile = log_file(tmp_path)
    write(logfile, "half")
    reader = LogReader(logfile, "")
    assert await reader.tail(5) == []
    write(logfile, " whole\n")
    assert await reader.fresh() == ["half whole"]
    write(logfile, "half")
    assert await LogReader(logfile, "").snapshot(1) == ["half"]


async def test_a_flood_is_followed_while_it_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rotation, "_CHECK_EVERY", 0.01)
    async with local(tmp_path, log_bytes=20_000) as it:
        status = await it.awake(spec())
        seen_all = asyncio.Event()
        flood = asyncio.create_task(_floods(status, seen_all))
        async with following(it.provider, "e", tail=0, follow=True) as lines, asyncio.timeout(20):
            seen = [line async for line in _until(lines, "over")]
        seen_all.set()
        await flood
        floods = [line for line in seen if line.startswith("flood")]
        assert floods
        assert max(len(line) for line in floods) == len("flood line 00000000"), "lines may be cut, but never glued"
        names = sorted(path.name for path in (tmp_path / "logs" / "e").iterdir())
        assert names[:2] == ["0.log", "0.log.1"]
        assert len(names) <= 3


async def _floods(status: Status, seen_all: asyncio.Event) -> None:
    for _ in range(20):
        await get(status, "/flood/200")
    while not seen_all.is_set():  # a line may fall between the copy and the cut of a rotation
        await get(status, "/say/over")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(seen_all.wait(), 0.05)


async def _until(lines: AsyncGenerator[str, None], last: str) -> AsyncGenerator[str, None]:
    async for line in lines:
        if line == last:
            return
        yield line


async def test_lines_of_several_replicas_say_whose_they_are(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.awake(spec("e", "--print", "hello", replicas=2))
        lines = [line async for line in it.provider.logs("e", tail=10)]
        assert "[0] hello" in lines
        assert "[1] hello" in lines


async def test_the_log_stays_readable_while_the_endpoint_sleeps(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.awake(spec("e", "--print", "hello"))
        await it.provider.sleep("e")
        await it.until_state(State.SCALED_TO_ZERO)
        assert [line async for line in it.provider.logs("e", tail=2)][:1] == ["hello"]
        assert [line async for line in it.provider.logs("e", tail=0)] == []


async def test_following_ends_when_the_endpoint_is_deleted(tmp_path: Path):
    async with local(tmp_path) as it:
        await it.awake(spec())
        async with following(it.provider, "e", follow=True) as lines, asyncio.timeout(10):
            assert await anext(lines)
            await it.provider.delete("e")
            assert [line async for line in lines] == []


async def test_logs_of_an_unknown_endpoint_are_an_error(tmp_path: Path):
    async with local(tmp_path) as it:
        with pytest.raises(EndpointNotFound):
            await anext(it.provider.logs("nobody"))
