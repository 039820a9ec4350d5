"""What slow readers and many connections cost a real server process in memory."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter

MIB = 1 << 20
ANSWER = 100 * MIB
READERS = 6
WORLD = """
providers:
  sim: {{type: memory, options: {{start_delay: 0.01, url: "{url}"}}}}
endpoints:
  big: {{provider: sim, engine: llamacpp, model: SmolLM2-135M-Instruct}}
"""


class Torrent:
    """Answers each connection's first request with 100 MiB as fast as they are taken; counts what was taken."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._pour, args=(connection,), daemon=True).start()

    def _pour(self, connection: socket.socket) -> None:
        block = bytes(MIB)
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ANSWER)
            for _ in range(ANSWER // MIB):
                connection.sendall(block)
                with self._lock:
                    self.sent += MIB

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def torrent() -> Iterator[Torrent]:
    one = Torrent()
    yield one
    one.close()


@contextlib.contextmanager
def _connected(server: LamplighterProcess, count: int) -> Iterator[list[socket.socket]]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(count)]


def test_slow_readers_of_large_answers_and_idle_crowds_cost_a_bounded_amount(tmp_path: Path, torrent: Torrent) -> None:
    with lamplighter(tmp_path, WORLD.format(url=torrent.url), server="max_connections: 300") as server:
        process = psutil.Process(server.process.pid)
        ask = b"GET /endpoints/big/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with _connected(server, READERS) as readers:
            for reader in readers:
                reader.sendall(ask)
                assert reader.recv(20, socket.MSG_WAITALL).startswith(b"HTTP/1.1 200")
            before = process.memory_info().rss

            taken = -1

            def stands_still() -> bool:
                nonlocal taken
                last, taken = taken, torrent.sent
                return taken == last

            eventually(stands_still, "the endpoint is held back")
            assert torrent.sent < READERS * ANSWER / 2, "nobody reads, so the endpoint was held back"
            grown = process.memory_info().rss - before
            assert grown < READERS * 2 * MIB, f"{grown / MIB:.1f} MiB for {READERS} slow readers"

            with _connected(server, 600) as crowd:
                refused = sum(one.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 503" for one in crowd[300:])
                assert refused == 300
                grown = process.memory_info().rss - before
                assert grown < 24 * MIB, f"{grown / MIB:.1f} MiB with {len(crowd)} more connections"

            got = 0
            while got < ANSWER:
                piece = readers[0].recv(4 * MIB)
                assert piece
                got += len(piece)
            grown = process.memory_info().rss - before
            assert grown < 24 * MIB, f"{grown / MIB:.1f} MiB after a whole answer"
        eventually(lambda: server.status("big")["in_flight"] == 0, "nothing is in flight once the readers left")
