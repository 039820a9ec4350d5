"""One server takes the place of another on the same listening socket, and a file is read anew: nobody gets an error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, eventually

pytestmark = pytest.mark.acceptance

ENGINE = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        self.answer(b"ok")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if b'"stream"' not in body:
            self.answer(b'{"object": "chat.completion"}')
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(10):
            self.wfile.write(b"8\\r\\ndata: x\\n\\r\\n")
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"0\\r\\n\\r\\n")
    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 256
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

ENDPOINTS = """
endpoints:
  quick:
    command: [{python}, {engine}, "{{port}}"]
    health_route: /
    idle_timeout: {idle}
"""


def configuration(folder: Path, idle: str = "10m") -> str:
    engine = folder / "engine.py"
    engine.write_text(ENGINE)
    return ENDPOINTS.format(python=sys.executable, engine=engine, idle=idle)


class OnSocket(LamplighterProcess):
    """Takes over a listening socket that the test holds."""

    listener: socket.socket

    def launch(self) -> OnSocket:
        fd = self.listener.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lamplighter", "serve", "--config", self.config, "--fd", str(fd)],
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
            cwd=self.folder,
            pass_fds=[fd],
        )
        self.lines = []
        threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()
        return self


@contextlib.contextmanager
def on_socket(folder: Path, server: str) -> Iterator[tuple[OnSocket, OnSocket, socket.socket]]:
    """Two servers for one socket and one data folder, neither started; whatever they leave ends with the context."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        first, second = (OnSocket(folder, configuration(folder), server=server) for _ in range(2))
        first.listener = second.listener = listener
        try:
            yield first, second, listener
        finally:
            for one in (first, second):
                if hasattr(one, "process") and one.process.poll() is None:
                    one.stop()
            for engine in first.engines():
                engine.kill()


class Load:
    """Clients that repeat nothing and know one courtesy: `connection: close` is the end of a connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.reconnected = 0
        self.failures: list[str] = []
        self._done = False

    @contextlib.asynccontextmanager
    async def going_on(self, *, kept: int = 12, fresh: int = 4, streams: int = 3) -> AsyncIterator[Load]:
        tasks = [asyncio.create_task(self._client(keep=True, stream=False)) for _ in range(kept)]
        tasks += [asyncio.create_task(self._client(keep=False, stream=False)) for _ in range(fresh)]
        tasks += [asyncio.create_task(self._client(keep=True, stream=True)) for _ in range(streams)]
        try:
            yield self
        finally:
            self._done = True
            await asyncio.gather(*tasks)

    async def more(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.answered + count
        async with asyncio.timeout(60):
            while self.answered < wanted:  # noqa: ASYNC110 - they are many
                await asyncio.sleep(0.01)

    async def _client(self, *, keep: bool, stream: bool) -> None:
        body = b'{"model": "quick", "messages": []' + (b', "stream": true}' if stream else b"}")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % self.port
        head += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        head += b"\r\n" if keep else b"connection: close\r\n\r\n"
        while not self._done:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                self.failures.append(f"not connected: {error}")
                return
            with contextlib.closing(writer):
                self.reconnected += keep
                while not self._done:
                    try:
                        writer.write(head + body)
                        last = await self._read(reader)
                    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                        self.failures.append(f"{'kept' if keep else 'fresh'}, {stream=}: {error!r}")
                        return
                    self.answered += 1
                    if last or not keep:
                        break
                    await asyncio.sleep(0.002)

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> bool:
        """Read an answer to its end; tells whether it was the last one on its connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise ValueError(head + await reader.read(500))
        if b"transfer-encoding: chunked" in head:
            while await reader.readuntil(b"\r\n") != b"0\r\n":
                await reader.readuntil(b"\r\n")
            await reader.readuntil(b"\r\n")
        else:
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        return b"connection: close" in head


async def test_a_second_server_takes_over_under_load_and_no_request_fails(tmp_path: Path) -> None:
    with on_socket(tmp_path, "drain_timeout: 20s, on_shutdown: leave") as (first, second, listener):
        first.start()
        first.wake("quick")
        engines = {engine.pid for engine in first.engines()}
        async with Load(listener.getsockname()[1]).going_on() as load:
            await load.more(300)
            reconnected = load.reconnected
            first.process.send_signal(signal.SIGTERM)
            second.launch()
            assert await asyncio.to_thread(first.process.wait, 30) == 0
            await load.more(300)
        assert load.failures == []
        assert load.reconnected >= reconnected + 12  # each kept connection was asked to come again, and did
        assert {engine.pid for engine in second.engines()} == engines
        answered = load.answered
        assert second.stop() == 0
        eventually(lambda: used(second) == answered, f"{answered} requests are on record")


def used(server: LamplighterProcess) -> int:
    ((count,),) = server.rows("SELECT sum(requests) FROM usage WHERE status = 200")
    return int(count)


async def test_a_reload_under_load_fails_no_request(tmp_path: Path) -> None:
    with on_socket(tmp_path, "drain_timeout: 20s") as (server, _, listener):
        server.start()
        server.wake("quick")
        async with Load(listener.getsockname()[1]).going_on() as load:
            for idle in ("11m", "12m", "13m"):
                await load.more(100)
                server.write(configuration(tmp_path, idle))
                server.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(eventually, partial(has_idle_timeout, server, idle), "the new file")
            await load.more(100)
        assert load.failures == []
        assert load.reconnected == 15  # and no connection was ended


def has_idle_timeout(server: LamplighterProcess, idle: str) -> bool:
    return bool(server.status("quick")["idle_timeout"] == int(idle.removesuffix("m")) * 60)


def test_an_idle_connection_is_closed_and_what_comes_on_it_before_is_still_served(tmp_path: Path) -> None:
    with on_socket(tmp_path, "drain_timeout: 20s") as (server, _, listener):
        server.start()
        server.wake("quick")
        with (
            httpx2.Client(base_url=server.url, trust_env=False) as kept,
            socket.create_connection(listener.getsockname()) as silent,
        ):
            assert kept.get("/healthz").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: last_answer(kept), "the last answer on this connection")
            silent.settimeout(20)
            assert silent.recv(1) == b""
        assert server.process.wait(20) == 0


def last_answer(kept: httpx2.Client) -> bool:
    answer = kept.post("/v1/chat/completions", json={"model": "quick", "messages": []})
    assert answer.status_code == 200
    return answer.headers.get("connection") == "close"


def test_a_server_on_a_socket_waits_for_the_one_before_it_no_longer_than_told(tmp_path: Path) -> None:
    with on_socket(tmp_path, "takeover_wait: 0.3s") as (first, second, _):
        first.start()
        second.launch()
        assert second.process.wait(20) == 1
        second.await_line(lambda line: "waiting for the server before this one" in line, "that it waits")
        second.await_line(lambda line: f"Another Lamplighter (process {first.process.pid})" in line, "who is there")
        assert httpx2.get(f"{first.url}/healthz").status_code == 200
