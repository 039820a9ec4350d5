"""Connections to endpoints: few are opened at once, and one that comes back goes to whoever waits."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from lamplighter.errors import QueueFull, UpstreamUnreachable
from lamplighter.gateway.address import Origin
from lamplighter.gateway.pool import FEW_AT_ONCE, Pool
from lamplighter.gateway.upstream import UpstreamConnection

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Place:
    """Somebody who listens, and whose handshakes and answers the test makes itself. Connections get no TLS answer."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.accepted: list[socket.socket] = []

    async def accept_all(self) -> int:
        """How many connections have come so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                one, _ = self.listener.accept()
                one.setblocking(False)
                self.accepted.append(one)
        await asyncio.sleep(0)
        return len(self.accepted)

    async def answer(self, connection: UpstreamConnection) -> None:
        """Have a plain connection, the last that came, carry one whole exchange."""
        asked = connection.ask(b"GET / HTTP/1.1\r\n\r\n", head_only=False)
        await self.accept_all()
        loop = asyncio.get_running_loop()
        await loop.sock_recv(self.accepted[-1], 1000)
        await loop.sock_sendall(self.accepted[-1], ANSWER)
        await asked
        assert connection.take() == b"{}"

    def close(self) -> None:
        for one in [self.listener, *self.accepted]:
            one.close()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    there = Place()
    yield there
    there.close()


def pool(connect_timeout: float = 10.0) -> Pool:
    return Pool(per_origin=8, idle_timeout=4.0, connect_timeout=connect_timeout)


def silent(place: Place) -> Origin:
    """Whoever opens a connection there waits for a handshake that never comes."""
    return Origin("127.0.0.1", place.port, tls=True)


@contextlib.asynccontextmanager
async def opening(pool: Pool, origin: Origin, count: int) -> AsyncIterator[list[asyncio.Task[UpstreamConnection]]]:
    tasks = [asyncio.create_task(pool.connect(origin)) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def settled(place: Place) -> int:
    """How many connections have come once no more come."""
    seen = -1
    while (now := await place.accept_all()) != seen:
        seen = now
        for _ in range(20):
            await asyncio.sleep(0.001)
    return seen


async def test_of_many_that_want_a_connection_few_open_one_at_once(place: Place) -> None:
    async with opening(pool(), silent(place), 3 * FEW_AT_ONCE):
        assert await settled(place) == FEW_AT_ONCE


async def test_more_are_opened_at_once_as_long_as_that_goes_well(place: Place) -> None:
    connections, origin = pool(), Origin("127.0.0.1", place.port, tls=False)
    await asyncio.gather(*(connections.connect(origin) for _ in range(FEW_AT_ONCE)))
    async with opening(connections, silent(place), 1):
        assert connections._of(silent(place)).at_once == FEW_AT_ONCE
    assert connections._of(origin).at_once == 2 * FEW_AT_ONCE
    place.listener.close()
    with pytest.raises(UpstreamUnreachable):
        await connections.connect(origin)
    assert connections._of(origin).at_once == FEW_AT_ONCE


async def test_a_turn_goes_on_when_somebody_leaves_whether_opening_or_waiting(place: Place) -> None:
    connections = pool()
    async with opening(connections, silent(place), 2 * FEW_AT_ONCE) as tasks:
        assert await settled(place) == FEW_AT_ONCE
        for task in tasks[: FEW_AT_ONCE // 2] + tasks[FEW_AT_ONCE : FEW_AT_ONCE + 3]:
            task.cancel()
        assert await settled(place) == FEW_AT_ONCE * 3 // 2
    connections.sweep(0.0)
    assert not connections._origins


async def test_who_got_no_turn_in_time_says_nothing_of_an_endpoint_that_others_reach(place: Place) -> None:
    connections, origin = pool(connect_timeout=0.05), Origin("127.0.0.1", place.port, tls=False)
    connections._of(origin).at_once = 0
    async with opening(connections, origin, 1) as (waits,):
        await asyncio.sleep(0.01)
        connections._of(origin).opened(at_once=True)
        connections._of(origin).at_once = 0
        with pytest.raises(QueueFull):
            await waits


async def test_who_got_no_turn_where_nobody_gets_through_does_not_reach_the_endpoint(place: Place) -> None:
    connections = pool(connect_timeout=0.05)
    connections._of(silent(place)).at_once = 0
    with pytest.raises(UpstreamUnreachable, match="in time"):
        await connections.connect(silent(place))


async def test_who_leaves_while_a_connection_is_opened_says_nothing_of_how_that_goes(place: Place) -> None:
    connections = pool()
    known = connections._of(silent(place))
    known.at_once = 5
    async with opening(connections, silent(place), 9):
        await settled(place)
    assert (known.at_once, known.opening) == (5, 0)


async def test_who_gets_no_answer_in_time_does_not_reach_the_endpoint(place: Place) -> None:
    with pytest.raises(UpstreamUnreachable, match="in time"):
        await pool(connect_timeout=0.05).connect(silent(place))


async def test_one_that_comes_back_goes_to_who_waits_longest(place: Place) -> None:
    connections, origin = pool(), Origin("127.0.0.1", place.port, tls=False)
    back = await connections.connect(origin)
    await place.answer(back)
    connections._of(origin).at_once = 0
    async with opening(connections, origin, 2) as (first, second):
        await asyncio.sleep(0)
        connections.give(origin, back)
        assert await first is back
        assert not second.done()


async def test_one_that_is_given_to_somebody_who_just_left_is_not_lost(place: Place) -> None:
    connections, origin = pool(), Origin("127.0.0.1", place.port, tls=False)
    back = await connections.connect(origin)
    await place.answer(back)
    connections._of(origin).at_once = 0
    async with opening(connections, origin, 1) as (left,):
        await asyncio.sleep(0)
        connections.give(origin, back)
        left.cancel()
    assert connections.take(origin) is back


async def test_one_that_ended_on_its_way_to_who_waits_is_not_used(place: Place) -> None:
    connections, origin = pool(), Origin("127.0.0.1", place.port, tls=False)
    back = await connections.connect(origin)
    await place.answer(back)
    known = connections._of(origin)
    known.at_once = 0
    async with opening(connections, origin, 1) as (waits,):
        await asyncio.sleep(0)
        connections.give(origin, back)
        back.ended = True
        known.at_once = FEW_AT_ONCE  # and nobody is opening one, who would give a turn
        assert await waits is not back
