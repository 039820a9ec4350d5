"""Connections of clients are taken in as they come, many in one round of the loop."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import cast

import pytest
import uvloop

from lamplighter.gateway import accepting
from lamplighter.gateway.accepting import AT_ONCE, Accepting
from tests.gateway_stage import until

RUNNERS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Runner = Callable[[Coroutine[None, None, None]], None]


class Greeted(asyncio.Protocol):
    """Counts who came."""

    def __init__(self, came: list[asyncio.BaseTransport]) -> None:
        self._came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._came.append(transport)


class Door:
    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.came: list[asyncio.BaseTransport] = []
        self.accepting = Accepting(self.listener, lambda: Greeted(self.came))
        self._callers: list[socket.socket] = []

    def call(self, count: int = 1) -> None:
        for _ in range(count):
            self._callers.append(socket.create_connection(self.listener.getsockname()))

    def close(self) -> None:
        self.accepting.close()
        for transport in self.came:
            cast("asyncio.Transport", transport).abort()
        for caller in [*self._callers, self.listener]:
            caller.close()


def _lowest_free() -> int:
    """The number of the next file that is opened."""
    number = os.dup(0)
    os.close(number)
    return number


@contextlib.contextmanager
def door() -> Iterator[Door]:
    made = Door()
    try:
        yield made
    finally:
        made.close()


@RUNNERS
def test_many_come_in_within_few_rounds_of_the_loop(run: Runner) -> None:
    async def scene() -> None:
        with door() as there:
            there.call(300)
            rounds = 0
            while len(there.came) < 300:
                await asyncio.sleep(0)
                rounds += 1
                assert rounds < 100
            assert AT_ONCE < 300

    run(scene())


@RUNNERS
def test_nobody_comes_in_after_the_end_and_who_was_let_in_is_known(run: Runner) -> None:
    async def scene() -> None:
        with door() as there:
            there.call(5)
            there.accepting._accept()
            there.accepting.close()
            await there.accepting.settled()
            assert len(there.came) == 5
            there.call()
            await asyncio.sleep(0.02)
            assert len(there.came) == 5

    run(scene())


@RUNNERS
def test_a_lack_of_descriptors_is_told_and_waited_out(
    run: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "_PAUSE", 0.02)

    async def scene() -> None:
        with door() as there:
            there.call(3)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (_lowest_free(), hard))
            try:
                await until(lambda: caplog.records)
                assert there.came == []
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: len(there.came) == 3)

    with caplog.at_level(logging.ERROR):
        run(scene())
    assert "no connection can be accepted: Too many open files" in caplog.text
